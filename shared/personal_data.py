"""Personal data in events, encrypted with a key of their user: destroying the key makes every copy unreadable.

A sealed value is a compact JWE (RFC 7516) with the header `{"alg": "dir", "enc": "A256GCM", "kid": <user id>}`, so that
any JOSE library can open it.
"""

import secrets
from typing import TypeVar
from uuid import UUID

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from pydantic import BaseModel, ConfigDict, ValidationError

KEY_BYTES = 32
_HEADER = {"alg": "dir", "enc": "A256GCM"}
MAX_SEALED_BYTES = 512 * 1024
"""Upper bound of a sealed value, as long as the largest event. The library's own bound is 64 KiB."""


class _Registry(jwe.JWERegistry):
    max_ciphertext_length = MAX_SEALED_BYTES


_REGISTRY = _Registry(algorithms=list(_HEADER.values()))

DataT = TypeVar("DataT", bound="PersonalData")


class SealedDataInvalid(Exception):
    """A sealed value cannot be opened with this key, or does not have the expected form."""


class PersonalData(BaseModel):
    """The base class of what is sealed. Unknown fields are ignored, so that a newer version with more can be read."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def new_personal_key() -> bytes:
    """Return a new key."""
    return secrets.token_bytes(KEY_BYTES)


def seal(data: PersonalData, *, key: bytes, user_id: UUID) -> str:
    """Encrypt a user's personal data with the user's key."""
    plain = data.model_dump_json().encode()
    return jwe.encrypt_compact({**_HEADER, "kid": str(user_id)}, plain, OctKey.import_key(key), registry=_REGISTRY)


def unseal(sealed: str, *, key: bytes, model: type[DataT]) -> DataT:
    """Decrypt a sealed value. Raises: SealedDataInvalid."""
    try:
        plain = jwe.decrypt_compact(sealed, OctKey.import_key(key), registry=_REGISTRY).plaintext or b""
        return model.model_validate_json(plain)
    except (JoseError, ValueError, ValidationError) as error:
        raise SealedDataInvalid(type(error).__name__) from None
