"""Routes of sessions: sign in, refresh, list, sign out."""

from typing import Annotated
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Header, Request, Response

from services.users.accounts.commands import replace_password_hash
from services.users.accounts.queries import account_with_email
from services.users.credentials.dependencies import PasswordsDep, SignInThrottleDep
from services.users.credentials.passwords import Passwords
from services.users.credentials.throttling import TooManyAttempts
from services.users.dependencies import SettingsDep
from services.users.models.accounts import UserAccount
from services.users.models.sessions import UserSession
from services.users.sessions import commands, queries
from services.users.sessions.commands import (
    AccountInactive,
    FamilyRevoked,
    Grant,
    RefreshTokenInvalid,
    SessionNotFound,
)
from services.users.sessions.dependencies import AccessTokensDep, OwnSessionPermit
from services.users.sessions.schemas import Refresh, SessionView, SignIn, TokenPairView
from shared.database import Sessions
from shared.errors import Unauthenticated
from shared.http.auth import Caller, public
from shared.http.dependencies import SessionsDep
from shared.http.pagination import Page, PageParams, page_of
from shared.http.problems import responses
from shared.http.rate_limit import client_address

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


class CredentialsInvalid(Unauthenticated):
    """The e-mail address or the password is wrong."""

    code = "credentials_invalid"


class RefreshTokenReused(Unauthenticated):
    """The refresh token was used before, so its session was revoked."""

    code = "refresh_token_reused"


@router.post(
    "",
    status_code=201,
    summary="Sign in",
    dependencies=[Depends(public)],
    responses=responses(CredentialsInvalid, AccountInactive, TooManyAttempts),
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
    throttle: SignInThrottleDep,
    user_agent: Annotated[str | None, Header()] = None,
) -> TokenPairView:
    """Exchange an e-mail address and a password for an access token and a refresh token.

    There is no Idempotency-Key, because the saved response would store tokens. A repeated request starts another
    session.
    """
    attempt = throttle.attempt(email=body.email, address=client_address(request), failure=CredentialsInvalid)
    async with attempt:
        account, new_hash = await _authenticate(body, sessions=sessions, passwords=passwords)
        async with sessions.begin() as session:
            grant = await commands.start_session(
                session, account=account, user_agent=user_agent, lifetime=settings.refresh_token_lifetime
            )
            if new_hash is not None:
                await replace_password_hash(
                    session, user_id=account.id, old_hash=account.password_hash, new_hash=new_hash
                )
    logger.info("session_started", user_id=str(account.id), session_id=str(grant.session_id))
    return _token_pair(grant, access_tokens=access_tokens, response=response)


@router.post(
    "/refresh",
    summary="Refresh a session",
    dependencies=[Depends(public)],
    responses=responses(RefreshTokenInvalid, RefreshTokenReused),
)
async def refresh_session(
    body: Refresh, response: Response, sessions: SessionsDep, settings: SettingsDep, access_tokens: AccessTokensDep
) -> TokenPairView:
    """Exchange a refresh token for the next pair of tokens.

    A refresh token works once. Presenting a used one revokes its session, because one of its two holders stole it.
    """
    async with sessions.begin() as session:
        outcome = await commands.refresh_session(
            session,
            refresh_token=body.refresh_token.get_secret_value(),
            lifetime=settings.refresh_token_lifetime,
        )
    if isinstance(outcome, FamilyRevoked):
        logger.warning("refresh_token_reused", user_id=str(outcome.user_id), session_id=str(outcome.session_id))
        raise RefreshTokenReused
    return _token_pair(outcome, access_tokens=access_tokens, response=response)


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


@router.delete("/{session_id}", status_code=204, summary="Sign out", responses=responses(SessionNotFound))
async def revoke_own_session(session_id: UUID, permit: OwnSessionPermit, sessions: SessionsDep) -> None:
    """End one of your sessions. It can't be refreshed any more; its access token works until it expires."""
    async with sessions.begin() as session:
        await commands.revoke_session(session, session_id=session_id, permit=permit)
    logger.info("session_revoked", user_id=str(permit.user_id), session_id=str(session_id))


async def _authenticate(body: SignIn, *, sessions: Sessions, passwords: Passwords) -> tuple[UserAccount, str | None]:
    """Return the account and, if its password's hash is outdated, a new one. Raises: CredentialsInvalid."""
    async with sessions() as session:
        account = await account_with_email(session, body.email)
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
