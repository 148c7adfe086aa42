"""Dependencies of routes that issue access tokens."""

from typing import Annotated

from fastapi import Depends, Request

from services.users.sessions.access_tokens import AccessTokens


async def _access_tokens(request: Request) -> AccessTokens:
    access_tokens: AccessTokens = request.app.state.access_tokens
    return access_tokens


AccessTokensDep = Annotated[AccessTokens, Depends(_access_tokens)]
