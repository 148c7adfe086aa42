"""Dependencies of routes of sessions."""

from typing import Annotated

from fastapi import Depends, Request

from services.users.sessions.access_tokens import AccessTokens
from services.users.sessions.revocation import SessionNotFound
from shared.http.auth import NOBODY, SIGNED_IN, Permit, by_owner

OWN_SESSION = by_owner(own=SIGNED_IN, others=NOBODY, others_denial=SessionNotFound)


async def _access_tokens(request: Request) -> AccessTokens:
    access_tokens: AccessTokens = request.app.state.access_tokens
    return access_tokens


OwnSessionPermit = Annotated[Permit, Depends(OWN_SESSION)]
AccessTokensDep = Annotated[AccessTokens, Depends(_access_tokens)]
