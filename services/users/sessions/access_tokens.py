"""Access tokens: JWTs signed with the first of the service's keys and verified with any of them."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from services.users.models.accounts import UserAccount
from shared.http.tokens import ALGORITHM, AUDIENCE
from shared.ids import new_id


class SigningKeysInvalid(Exception):
    """The file of signing keys can't be used."""


def load_signing_keys(file: Path) -> KeySet:
    """Read a JWK Set of private Ed25519 keys. Raises: SigningKeysInvalid, whose text never holds a key."""
    try:
        keys = [OKPKey.import_key(data) for data in orjson.loads(file.read_bytes())["keys"]]
    except OSError as error:
        raise SigningKeysInvalid(f"{file}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, JoseError) as error:
        raise SigningKeysInvalid(f"{file} is not a JWK Set of Ed25519 keys ({type(error).__name__})") from None
    if not keys:
        raise SigningKeysInvalid(f"{file} holds no key")
    if any(key.curve_name != "Ed25519" or not key.is_private for key in keys):
        raise SigningKeysInvalid(f"{file} holds a key that is not a private Ed25519 key")
    key_set = KeySet(list(keys))  # sets the thumbprint as `kid` of a key that has none
    if len({key.kid for key in keys}) != len(keys):
        raise SigningKeysInvalid(f"{file} holds two keys with one kid")
    return key_set


class AccessTokens:
    """Issues access tokens, and offers the keys that verify them."""

    def __init__(self, keys: KeySet, *, issuer: str, lifetime: timedelta) -> None:
        self._keys = keys
        self._issuer = issuer
        self.lifetime_seconds = int(lifetime.total_seconds())

    def issue(self, account: UserAccount, *, session_id: UUID) -> str:
        """Return a signed token for an account in a session."""
        issued_at = int(time.time())
        key = self._keys.keys[0]
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": str(account.id),
            "sid": str(session_id),
            "roles": account.roles,
            "iat": issued_at,
            "exp": issued_at + self.lifetime_seconds,
            "jti": str(new_id()),
        }
        return jwt.encode({"alg": ALGORITHM, "kid": key.kid}, claims, key, algorithms=[ALGORITHM])

    async def keys(self) -> KeySet:
        """Return the keys. A KeySource of this service's own verifier, which then needs no HTTP request to itself."""
        return self._keys

    def public_keys(self) -> list[dict[str, Any]]:
        """Return the public keys, member by member, so that nothing else in the file is published."""
        public = [key.as_dict(private=False) for key in self._keys]
        return [
            {"kty": "OKP", "crv": "Ed25519", "x": k["x"], "kid": k["kid"], "use": "sig", "alg": ALGORITHM}
            for k in public
        ]
