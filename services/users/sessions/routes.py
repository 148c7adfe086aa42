"""Routes of sessions: sign in, refresh, list, sign out."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.commands import replace_password_hash
from services.users.accounts.queries import account_with_email
from services.users.authentication.queries import methods_of
from services.users.credentials.dependencies import PasswordsDep, SignInThrottleDep
from services.users.credentials.passwords import Passwords
from services.users.credentials.throttling import TooManyAttempts
from services.users.dependencies import SettingsDep
from services.users.models.accounts import UserAccount
from services.users.models.sessions import AuthenticationMethod, UserSession
from services.users.security_record.commands import Origin, origin_of
from services.users.sessions import commands, queries
from services.users.sessions.challenges import create_challenge
from services.users.sessions.commands import (
    AccountInactive,
    FamilyRevoked,
    Grant,
    RefreshTokenInvalid,
    SessionNotFound,
)
from services.users.sessions.dependencies import AccessTokensDep
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


class SecondFactorRequired(Unauthenticated):
    """The password is right; answer the `challenge` by `POST /v1/sessions/second-factor` with one of `methods`."""

    code = "second_factor_required"

    def __init__(self, *, challenge: str, methods: Sequence[AuthenticationMethod]) -> None:
        super().__init__(extra={"challenge": challenge, "methods": list(methods)})


class RefreshTokenReused(Unauthenticated):
    """The refresh token was used before, so its session was revoked."""

    code = "refresh_token_reused"


@router.post(
    "",
    status_code=201,
    summary="Sign in",
    dependencies=[Depends(public)],
    responses=responses(CredentialsInvalid, SecondFactorRequired, AccountInactive, TooManyAttempts),
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
) -> TokenPairView:
    """Exchange an e-mail address and a password for an access token and a refresh token.

    There is no Idempotency-Key, because the saved response would store tokens. A repeated request starts another
    session.
    """
    attempt = throttle.attempt(email=body.email, address=client_address(request), failure=CredentialsInvalid)
    async with attempt:
        account, new_hash = await _authenticate(body, sessions=sessions, passwords=passwords)
        async with sessions.begin() as session:
            if new_hash is not None and account.password_hash is not None:
                await replace_password_hash(
                    session, user_id=account.id, old_hash=account.password_hash, new_hash=new_hash
                )
            outcome = await _session_or_challenge(
                session, account, origin=origin_of(request), lifetime=settings.refresh_token_lifetime
            )
        if isinstance(outcome, SecondFactorRequired):
            raise outcome
    grant = outcome
    logger.info("session_started", user_id=str(account.id), session_id=str(grant.session_id))
    return token_pair(grant, access_tokens=access_tokens, response=response)


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
    return token_pair(outcome, access_tokens=access_tokens, response=response)


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
async def revoke_own_session(session_id: UUID, caller: Caller, sessions: SessionsDep) -> None:
    """End one of your sessions. It can't be refreshed any more; its access token works until it expires."""
    async with sessions.begin() as session:
        await commands.revoke_session(session, session_id=session_id, user_id=caller.user_id)
    logger.info("session_revoked", user_id=str(caller.user_id), session_id=str(session_id))


async def _authenticate(body: SignIn, *, sessions: Sessions, passwords: Passwords) -> tuple[UserAccount, str | None]:
    """Return the account and, if its password's hash is outdated, a new one. Raises: CredentialsInvalid."""
    async with sessions() as session:
        account = await account_with_email(session, body.email)
    check = await passwords.verify(body.password, stored_hash=account.password_hash if account else None)
    if account is None or not check.is_right:
        raise CredentialsInvalid
    return account, check.new_hash


async def _session_or_challenge(
    session: AsyncSession, account: UserAccount, *, origin: Origin, lifetime: timedelta
) -> Grant | SecondFactorRequired:
    """Start a session, or create a challenge if the account has a second factor. Raises: AccountInactive."""
    if account.second_factor and account.status == "active":
        methods = (await methods_of(session, account.id)).second_factors
        return SecondFactorRequired(challenge=await create_challenge(session, user_id=account.id), methods=methods)
    return await commands.start_session(
        session, account=account, origin=origin, methods=["password"], lifetime=lifetime
    )


def token_pair(grant: Grant, *, access_tokens: AccessTokensDep, response: Response) -> TokenPairView:
    """Return the tokens of a session, in a response that no cache may store."""
    response.headers["Cache-Control"] = "no-store"
    return TokenPairView(
        access_token=access_tokens.issue(grant.account, session_id=grant.session_id),
        expires_in=access_tokens.lifetime_seconds,
        refresh_token=grant.refresh_token,
        session_id=grant.session_id,
    )
