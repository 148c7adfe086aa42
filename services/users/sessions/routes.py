"""Routes of sessions: sign in, refresh, list, sign out."""

from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Query, Request

from services.users.credentials.authentication import AUTHENTICATION_PROBLEMS
from services.users.models.sessions import UserSession
from services.users.security_record.commands import origin_of
from services.users.sessions import queries, revocation
from services.users.sessions.challenges import SecondFactorRequired
from services.users.sessions.commands import AccountInactive, RefreshTokenInvalid
from services.users.sessions.dependencies import OwnSessionPermit
from services.users.sessions.revocation import SessionNotFound
from services.users.sessions.schemas import Refresh, SessionView, SignIn, TokenPairView
from services.users.sessions.sign_in import RefreshTokenReused, SignInFlowDep
from shared.http.auth import Caller, public
from shared.http.dependencies import SessionsDep
from shared.http.pagination import Page, PageParams, page_of
from shared.http.problems import responses

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


@router.post(
    "",
    status_code=201,
    summary="Sign in",
    dependencies=[Depends(public)],
    responses=responses(SecondFactorRequired, AccountInactive, *AUTHENTICATION_PROBLEMS),
)
async def sign_in(body: SignIn, flow: SignInFlowDep) -> TokenPairView:
    """Exchange an e-mail address and a password for an access token and a refresh token.

    An account with a second factor gets `second_factor_required` with a `challenge`, valid for five minutes, and the
    `methods` that answer it.

    There is no Idempotency-Key, because the saved response would store tokens. A repeated request starts another
    session.
    """
    return await flow.sign_in(email=body.email, password=body.password)


@router.post(
    "/refresh",
    summary="Refresh a session",
    dependencies=[Depends(public)],
    responses=responses(RefreshTokenInvalid, RefreshTokenReused),
)
async def refresh_session(body: Refresh, flow: SignInFlowDep) -> TokenPairView:
    """Exchange a refresh token for the next pair of tokens.

    A refresh token works once. Sent again within ten seconds, by a second tab or because the response was lost, it gets
    the same refresh token again. Presenting a used one later revokes its session, because one of its two holders stole
    it.
    """
    return await flow.refresh(body.refresh_token)


@router.get("", summary="List your sessions")
async def list_own_sessions(
    request: Request, caller: Caller, sessions: SessionsDep, params: PageParams
) -> Page[SessionView]:
    """Return your open sessions, newest first."""

    def view(row: UserSession) -> SessionView:
        return SessionView.model_validate(row).model_copy(update={"is_current": row.id == caller.session_id})

    async with sessions() as session:
        query = queries.open_sessions_of(caller.user_id)
        return await page_of(session, query, request=request, params=params, map=view)


@router.delete("", status_code=204, summary="Sign out everywhere")
async def revoke_own_sessions(
    request: Request,
    caller: Caller,
    sessions: SessionsDep,
    keep_current: Annotated[bool, Query(description="Keep the session of the request's access token.")] = False,
) -> None:
    """End all of your sessions, at once and in all services within seconds."""
    async with sessions.begin() as session:
        revoked = await revocation.revoke_all_sessions(
            session,
            user_id=caller.user_id,
            except_session_id=caller.session_id if keep_current else None,
            origin=origin_of(request),
        )
    logger.info("sessions_revoked", user_id=str(caller.user_id), sessions=revoked)


@router.delete("/{session_id}", status_code=204, summary="Sign out", responses=responses(SessionNotFound))
async def revoke_own_session(
    session_id: UUID, request: Request, permit: OwnSessionPermit, sessions: SessionsDep
) -> None:
    """End one of your sessions. Within seconds, no service accepts its tokens any more."""
    async with sessions.begin() as session:
        await revocation.revoke_session(session, session_id=session_id, permit=permit, origin=origin_of(request))
    logger.info("session_revoked", user_id=str(permit.user_id), session_id=str(session_id))
