"""The forms of the OAuth 2 routes."""

from collections import Counter
from typing import Annotated

from fastapi import Depends, Form, Request
from pydantic import BaseModel, ConfigDict, Field

from services.users.credentials.fields import Secret
from services.users.sessions.oauth_errors import RequestMalformed
from services.users.sessions.schemas import REFRESH_TOKEN
from shared.http.bodies import ResponseBody

_Text = Annotated[str, Field(max_length=254, pattern=r"^[^\x00]*$")]


class OAuthForm(BaseModel):
    """A form whose unknown fields are ignored, as OAuth 2 requires."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TokenForm(OAuthForm):
    """The form of the token endpoint."""

    grant_type: Annotated[_Text, Field(description="`password` or `refresh_token`.", examples=["password"])]
    username: Annotated[_Text | None, Field(description="The e-mail address.", examples=["ada@orderly.example"])] = None
    password: Annotated[Secret | None, Field(examples=["correct horse battery staple"])] = None
    refresh_token: Annotated[Secret | None, Field(max_length=100, examples=[REFRESH_TOKEN])] = None


class RevocationForm(OAuthForm):
    """The form of the revocation endpoint."""

    token: Annotated[
        Secret,
        Field(
            min_length=1, max_length=10_000, description="A refresh token or an access token.", examples=[REFRESH_TOKEN]
        ),
    ]


class RevokedView(ResponseBody):
    """An empty object."""


async def _refuse_repeated_fields(request: Request, form: OAuthForm) -> None:
    """Refuse a field of the form that is sent twice: who reads the first one and who reads the last would disagree."""
    fields = Counter(name for name, _ in (await request.form()).multi_items())
    if any(fields[name] > 1 for name in type(form).model_fields):
        raise RequestMalformed


async def _token_form(request: Request, form: Annotated[TokenForm, Form()]) -> TokenForm:
    await _refuse_repeated_fields(request, form)
    return form


async def _revocation_form(request: Request, form: Annotated[RevocationForm, Form()]) -> RevocationForm:
    await _refuse_repeated_fields(request, form)
    return form


TokenFormDep = Annotated[TokenForm, Depends(_token_form)]
RevocationFormDep = Annotated[RevocationForm, Depends(_revocation_form)]
