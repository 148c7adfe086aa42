"""Request and response bodies of sessions and of public keys."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AliasChoices, Field

from services.users.accounts.fields import Email
from services.users.credentials.fields import Password, Secret
from services.users.models.sessions import AuthenticationMethod
from shared.http.bodies import RequestBody, ResponseBody

_SESSION_ID = "0199a6e3-02d4-7f0a-b1c6-6a1f0e2d9b77"
_TIME = "2026-11-23T17:30:00Z"
REFRESH_TOKEN = "jv0Hn3mYcQ1V0m0o3yq8c2w5Jr6sZlq9bV2n8kT4xEo"  # noqa: S105 - an example


class SignIn(RequestBody):
    """The credentials of a user."""

    email: Email
    password: Password


class Refresh(RequestBody):
    """A refresh token, used once."""

    refresh_token: Annotated[Secret, Field(min_length=1, max_length=100, examples=[REFRESH_TOKEN])]


class TokenPairView(ResponseBody):
    """Tokens of a session. The refresh token works once."""

    access_token: Annotated[str, Field(description="A JWT for `Authorization: Bearer`.", examples=["eyJhbGciOi..."])]
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a token type
    expires_in: Annotated[int, Field(description="Seconds until the access token expires.", examples=[900])]
    refresh_token: Annotated[str, Field(examples=[REFRESH_TOKEN])]
    session_id: Annotated[UUID, Field(examples=[_SESSION_ID])]


class SessionView(ResponseBody):
    """A session: one place where the user is signed in."""

    id: Annotated[UUID, Field(examples=[_SESSION_ID])]
    device: Annotated[str, Field(description="The program and the system.", examples=["Firefox on Linux"])]
    address: Annotated[str | None, Field(description="The address of the last use.", examples=["203.0.113.7"])]
    user_agent: Annotated[str | None, Field(examples=["Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"])]
    methods: Annotated[
        list[AuthenticationMethod],
        Field(
            validation_alias=AliasChoices("amr", "methods"),
            description="`pwd`: password, `otp`: one-time password, `hwk`: passkey, `rc`: recovery code.",
            examples=[["pwd"]],
        ),
    ]
    authenticated_at: Annotated[
        datetime, Field(description="Time at which you last proved who you are.", examples=[_TIME])
    ]
    created_at: Annotated[datetime, Field(examples=[_TIME])]
    last_used_at: Annotated[datetime, Field(description="Time of the last refresh.", examples=[_TIME])]
    expires_at: Annotated[
        datetime, Field(description="The session ends then, unless it is refreshed.", examples=[_TIME])
    ]
    ends_at: Annotated[datetime, Field(description="No refresh extends the session beyond it.", examples=[_TIME])]
    is_current: Annotated[
        bool, Field(description="Whether the request's access token is of this session.", examples=[True])
    ] = False


class RevokedSessionView(ResponseBody):
    """A session that was revoked."""

    id: UUID
    expires_at: datetime
    """The time at which its last access token has expired."""


class RevocationsView(ResponseBody):
    """Revocations, as other services need to know them."""

    as_of: datetime
    sessions: list[RevokedSessionView]
    withdrawn_keys: list[str]


class PublicKeyView(ResponseBody):
    """A JSON Web Key (RFC 7517, RFC 8037)."""

    kty: Annotated[str, Field(examples=["OKP"])]
    crv: Annotated[str, Field(examples=["Ed25519"])]
    x: Annotated[str, Field(examples=["11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"])]
    kid: Annotated[str, Field(examples=["2026-11"])]
    use: Annotated[str, Field(examples=["sig"])]
    alg: Annotated[str, Field(examples=["EdDSA"])]


class PublicKeysView(ResponseBody):
    """A JWK Set."""

    keys: list[PublicKeyView]
