"""HTTP of sessions: signing in, refreshing, listing, signing out."""

from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Header, Request, Response

from services.users import queries, session_commands
from services.users.commands import replace_password_hash
from services.users.dependencies import AccessTokensDep, PasswordsDep, SettingsDep, SignInThrottleDep
from services.users.models import UserAccount, UserSession
from services.users.passwords import Passwords
from services.users.routes import SIGNED_IN
from services.users.schemas import Refresh, SessionView, SignIn, TokenPairView
from services.users.session_commands import (
    AccountInactive,
    FamilyRevoked,
    Grant,
    RefreshTokenInvalid,
    RefreshTokenReused,
    SessionNotFound,
)
from services.users.throttling import CredentialsInvalid, TooManyAttempts
from shared.database import Sessions
from shared.http.auth import Caller, public
from shared.http.dependencies import SessionsDep
from shared.http.pagination import CursorInvalid, Page, PageParams, page_of
from shared.http.problems import responses
from shared.http.rate_limit import RateLimited, address

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


@router.post(
    "",
    status_code=201,
    operation_id="sign_in",
    summary="Sign in",
    dependencies=[Depends(public)],
    responses=responses(CredentialsInvalid, AccountInactive, TooManyAttempts, RateLimited),
)
async def sign_in(
    body: SignIn,
    *,
    request: Request,
    response: Response,
    sessions: SessionsDep,
    settings: SettingsDep,
    passwords: PasswordsDep,
    access_tokens: AccessTokensDep,
    attempts: SignInThrottleDep,
    user_agent: Annotated[str | None, Header()] = None,
) -> TokenPairView:
    """Trade credentials for an access token and a refresh token.

    Takes no Idempotency-Key: a saved answer would be a stored token. A repeat makes another session.
    """
    async with attempts.counted(email=body.email, address=await address(request)):
        account, new_hash = await _checked(body, sessions=sessions, passwords=passwords)
        async with sessions.begin() as session:
            grant = await session_commands.start_session(
                session, account=account, user_agent=user_agent, lifetime=settings.refresh_token_lifetime
            )
            if new_hash is not None:
                await replace_password_hash(
                    session, user_id=account.id, old_hash=account.password_hash, new_hash=new_hash
                )
    log.info("session_started", user_id=str(account.id), session_id=str(grant.session_id))
    return _token_pair(grant, access_tokens=access_tokens, response=response)


@router.post(
    "/refresh",
    operation_id="refresh_session",
    summary="Refresh a session",
    dependencies=[Depends(public)],
    responses=responses(RefreshTokenInvalid, RefreshTokenReused),
)
async def refresh_session(
    body: Refresh, response: Response, sessions: SessionsDep, settings: SettingsDep, access_tokens: AccessTokensDep
) -> TokenPairView:
    """Trade a refresh token for the next pair. Each works once: one that comes again ends its session."""
    async with sessions.begin() as session:
        outcome = await session_commands.refresh_session(
            session,
            refresh_token=body.refresh_token.get_secret_value(),
            lifetime=settings.refresh_token_lifetime,
        )
    if isinstance(outcome, FamilyRevoked):
        log.warning("refresh_token_reused", user_id=str(outcome.user_id), session_id=str(outcome.session_id))
        raise RefreshTokenReused
    return _token_pair(outcome, access_tokens=access_tokens, response=response)


@router.get(
    "",
    operation_id="list_own_sessions",
    summary="List your sessions",
    responses=responses(*SIGNED_IN, CursorInvalid),
)
async def list_own_sessions(
    request: Request, caller: Caller, sessions: SessionsDep, params: PageParams
) -> Page[SessionView]:
    """Where you are signed in, newest first."""

    def view(row: UserSession) -> SessionView:
        return SessionView.model_validate(row).model_copy(update={"is_current": row.id == caller.session_id})

    async with sessions() as session:
        query = queries.open_sessions_of(caller.user_id)
        return await page_of(session, query, request=request, params=params, map=view)


@router.delete(
    "/{session_id}",
    status_code=204,
    operation_id="revoke_own_session",
    summary="Sign out",
    responses=responses(*SIGNED_IN, SessionNotFound),
)
async def revoke_own_session(session_id: UUID, caller: Caller, sessions: SessionsDep) -> None:
    """End a session of yours. It can't be refreshed any more; its access token lasts until it expires."""
    async with sessions.begin() as session:
        await session_commands.revoke_session(session, session_id=session_id, user_id=caller.user_id)
    log.info("session_revoked", user_id=str(caller.user_id), session_id=str(session_id))


async def _checked(body: SignIn, *, sessions: Sessions, passwords: Passwords) -> tuple[UserAccount, str | None]:
    async with sessions() as session:
        account = await queries.account_with_email(session, body.email)
    check = await passwords.verify(body.password, stored_hash=account.password_hash if account else None)
    if account is None or not check.is_right:
        raise CredentialsInvalid
    return account, check.new_hash


def _token_pair(grant: Grant, *, access_tokens: AccessTokensDep, response: Response) -> TokenPairView:
    response.headers["Cache-Control"] = "no-store"
    return TokenPairView(
        access_token=access_tokens.issue(grant.account, session_id=grant.session_id),
        expires_in=access_tokens.lifetime_seconds,
        refresh_token=grant.refresh_token,
        session_id=grant.session_id,
    )
