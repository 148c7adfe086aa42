"""Types of the secret fields of requests."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from pydantic_core import PydanticCustomError

from services.users.credentials.password_text import (
    MAX_PASSWORD_LENGTH,
    MIN_NEW_PASSWORD_LENGTH,
    check_new,
    check_typed,
)

_EXAMPLE = "correct horse battery staple"
_DESCRIPTION = "Its length is counted in code points after normalization (RFC 8265, OpaqueString)."


def _encodable(secret: SecretStr) -> SecretStr:
    # JSON can hold half of a surrogate pair. Pydantic rejects it in a str, but not in a SecretStr.
    try:
        secret.get_secret_value().encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("string_unicode", "Input should be a valid string") from None
    return secret


def _typed(secret: SecretStr) -> SecretStr:
    return SecretStr(check_typed(secret.get_secret_value()))


def _new(secret: SecretStr) -> SecretStr:
    return SecretStr(check_new(secret.get_secret_value()))


Secret = Annotated[SecretStr, AfterValidator(_encodable)]
Password = Annotated[
    Secret,
    AfterValidator(_typed),
    Field(
        description=_DESCRIPTION,
        examples=[_EXAMPLE],
        json_schema_extra={"minLength": 1, "maxLength": MAX_PASSWORD_LENGTH},
    ),
]
"""A password that somebody signs in with."""
NewPassword = Annotated[
    Secret,
    AfterValidator(_new),
    Field(
        description=f"{_DESCRIPTION} Known and easily guessed passwords are refused.",
        examples=[_EXAMPLE],
        json_schema_extra={"minLength": MIN_NEW_PASSWORD_LENGTH, "maxLength": MAX_PASSWORD_LENGTH},
    ),
]
"""A password that somebody chooses. `PasswordPolicy` has further rules."""
