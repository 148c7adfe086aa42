"""Request and response bodies of the users service."""

from datetime import datetime
from functools import cache
from typing import Annotated, Literal
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import AfterValidator, EmailStr, Field, SecretStr, StringConstraints
from pydantic_core import PydanticCustomError

from services.users.models import Role, UserStatus
from shared.amounts import MAX_AMOUNT_CENTS
from shared.http.bodies import RequestBody, ResponseBody

_USER_ID = "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"
_SESSION_ID = "0199a6e3-02d4-7f0a-b1c6-6a1f0e2d9b77"
_TIME = "2026-11-23T17:30:00Z"
_REFRESH_TOKEN = "jv0Hn3mYcQ1V0m0o3yq8c2w5Jr6sZlq9bV2n8kT4xEo"  # noqa: S105 - an example


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _known_time_zone(name: str) -> str:
    if name not in _time_zones():
        raise PydanticCustomError("time_zone_unknown", "Input should be a time zone of the IANA database")
    return name


def _encodable(secret: SecretStr) -> SecretStr:
    # JSON can hold half of a surrogate pair. Pydantic rejects it in a str, but not in a SecretStr.
    try:
        secret.get_secret_value().encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("string_unicode", "Input should be a valid string") from None
    return secret


Secret = Annotated[SecretStr, AfterValidator(_encodable)]
Email = Annotated[EmailStr, Field(max_length=254, examples=["ada@orderly.example"])]
Name = Annotated[
    str,
    # No control characters: a name has none, and PostgreSQL can't store NUL.
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"),
    Field(examples=["Ada Lovelace"]),
]
Phone = Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$", description="E.164", examples=["+442071838750"])]
Locale = Annotated[
    str,
    Field(pattern="^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?$", description="BCP 47", examples=["en-GB"]),
]
TimeZone = Annotated[
    str,
    Field(max_length=64, description="A name in the IANA time zone database", examples=["Europe/London"]),
    AfterValidator(_known_time_zone),
]


class SignUp(RequestBody):
    """A new user."""

    email: Email
    name: Name
    # Excluded from every dump, and so from the fingerprint that is stored with an Idempotency-Key.
    password: Annotated[
        Secret, Field(min_length=10, max_length=128, exclude=True, examples=["correct horse battery staple"])
    ]
    phone: Phone | None = Field(default=None, examples=["+442071838750"])
    locale: Locale = "en"
    time_zone: TimeZone = "UTC"


class ProfileChanges(RequestBody):
    """Changes of a profile. A member that is left out keeps its value."""

    # The defaults are never used, because only members that were sent are read. So null is an error except for phone.
    name: Name = Field(default_factory=str)
    phone: Phone | None = Field(default=None, description="null removes it.", examples=["+442071838750"])
    locale: Locale = Field(default_factory=str)
    time_zone: TimeZone = Field(default_factory=str)


class SignIn(RequestBody):
    """The credentials of a user."""

    email: Email
    password: Annotated[Secret, Field(min_length=1, max_length=128, examples=["correct horse battery staple"])]


class Refresh(RequestBody):
    """A refresh token, used once."""

    refresh_token: Annotated[Secret, Field(min_length=1, max_length=100, examples=[_REFRESH_TOKEN])]


class CreditLimit(RequestBody):
    """The upper bound of a user's reserved and used credit together."""

    limit_cents: Annotated[int, Field(ge=0, le=MAX_AMOUNT_CENTS, examples=[100_000])]


class UserView(ResponseBody):
    """A user."""

    id: Annotated[UUID, Field(examples=[_USER_ID])]
    email: Annotated[str, Field(examples=["ada@orderly.example"])]
    name: Annotated[str, Field(examples=["Ada Lovelace"])]
    phone: Annotated[str | None, Field(examples=["+442071838750"])]
    locale: Annotated[str, Field(examples=["en-GB"])]
    time_zone: Annotated[str, Field(examples=["Europe/London"])]
    roles: Annotated[list[Role], Field(examples=[["customer"]])]
    status: Annotated[UserStatus, Field(examples=["active"])]
    email_verified_at: Annotated[datetime | None, Field(examples=[None])]
    created_at: Annotated[datetime, Field(examples=[_TIME])]
    updated_at: Annotated[datetime, Field(examples=[_TIME])]


class TokenPairView(ResponseBody):
    """Tokens of a session. The refresh token works once."""

    access_token: Annotated[str, Field(description="A JWT for `Authorization: Bearer`.", examples=["eyJhbGciOi..."])]
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a token type
    expires_in: Annotated[int, Field(description="Seconds until the access token expires.", examples=[900])]
    refresh_token: Annotated[str, Field(examples=[_REFRESH_TOKEN])]
    session_id: Annotated[UUID, Field(examples=[_SESSION_ID])]


class SessionView(ResponseBody):
    """A session: one place where the user is signed in."""

    id: Annotated[UUID, Field(examples=[_SESSION_ID])]
    user_agent: Annotated[str | None, Field(examples=["Mozilla/5.0 (X11; Linux x86_64)"])]
    created_at: Annotated[datetime, Field(examples=[_TIME])]
    last_used_at: Annotated[datetime, Field(description="Time of the last refresh.", examples=[_TIME])]
    expires_at: Annotated[
        datetime, Field(description="The session ends then, unless it is refreshed.", examples=[_TIME])
    ]
    is_current: Annotated[
        bool, Field(description="Whether the request's access token is of this session.", examples=[True])
    ] = False


class CreditView(ResponseBody):
    """A user's credit: reserved by open orders, used by shipped orders, and available."""

    limit_cents: Annotated[int, Field(examples=[100_000])]
    reserved_cents: Annotated[int, Field(examples=[12_000])]
    used_cents: Annotated[int, Field(examples=[8_000])]
    available_cents: Annotated[int, Field(examples=[80_000])]
    currency: Annotated[str, Field(examples=["GBP"])]


class PublicKeyView(ResponseBody):
    """A JSON Web Key (RFC 7517, RFC 8037)."""

    kty: Annotated[str, Field(examples=["OKP"])]
    crv: Annotated[str, Field(examples=["Ed25519"])]
    x: Annotated[str, Field(examples=["11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"])]
    kid: Annotated[str, Field(examples=["2026-11"])]
    use: Annotated[str, Field(examples=["sig"])]
    alg: Annotated[str, Field(examples=["Ed25519"])]


class PublicKeysView(ResponseBody):
    """A JWK Set."""

    keys: list[PublicKeyView]
