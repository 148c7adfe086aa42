"""Step-up: the dependency of routes for sensitive changes, which a stolen access token alone must not make."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated
from uuid import UUID

import sqlalchemy as sa
from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.authentication.commands import SessionEnded
from services.users.authentication.queries import methods_of
from services.users.dependencies import SettingsDep
from services.users.models.accounts import UserAccount
from services.users.models.sessions import AuthenticationMethod, UserSession
from shared.errors import Unauthenticated
from shared.http.auth import Caller
from shared.http.dependencies import SessionsDep
from shared.http.parameters import after_parameters
from shared.http.tokens import Principal


class StepUpRequired(Unauthenticated):
    """You must authenticate again, by `POST /v1/sessions/step-up` with one of `methods`."""

    code = "step_up_required"
    challenge = 'Bearer error="insufficient_user_authentication"'  # RFC 9470

    def __init__(self, methods: Sequence[AuthenticationMethod]) -> None:
        super().__init__(extra={"methods": list(methods)})


STEP_UP_PROBLEMS = (StepUpRequired, SessionEnded)
"""The problems of a route with RECENTLY_AUTHENTICATED."""


@after_parameters
async def recently_authenticated(caller: Caller, sessions: SessionsDep, settings: SettingsDep) -> Principal:
    """Return the caller, who signed in or stepped up recently, with a second factor if the account has one.

    Reads the session's row, because an access token is as old as its last refresh. Raises: STEP_UP_PROBLEMS.
    """
    async with sessions() as session:
        await _require_recent(session, caller, max_age=settings.step_up_max_age)
    return caller


RECENTLY_AUTHENTICATED = Depends(recently_authenticated)
"""An item of a route's `dependencies`; add STEP_UP_PROBLEMS to its `responses`."""


async def _require_recent(session: AsyncSession, caller: Principal, *, max_age: timedelta) -> None:
    row = await _open_session(session, session_id=caller.session_id, user_id=caller.user_id, max_age=max_age)
    if row is None:
        raise SessionEnded
    is_recent, amr, requires_second_factor = row
    if not is_recent or (requires_second_factor and not set(amr) - {"pwd"}):
        raise StepUpRequired((await methods_of(session, caller.user_id)).for_step_up)


async def _open_session(
    session: AsyncSession, *, session_id: UUID | None, user_id: UUID, max_age: timedelta
) -> sa.Row[bool, list[AuthenticationMethod], bool] | None:
    found = await session.execute(
        sa.select(UserSession.authenticated_at > sa.func.now() - max_age, UserSession.amr, UserAccount.second_factor)
        .join(UserAccount, UserAccount.id == UserSession.user_id)
        .where(
            UserSession.id == session_id,
            UserSession.user_id == user_id,
            UserSession.revoked_at.is_(None),
            UserSession.expires_at > sa.func.now(),
        )
    )
    return found.one_or_none()


async def _current_session(caller: Caller) -> UUID:
    if caller.session_id is None:
        raise SessionEnded
    return caller.session_id


CurrentSession = Annotated[UUID, Depends(_current_session)]
"""The id of the session that the access token belongs to. Raises: SessionEnded."""
