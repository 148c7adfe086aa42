"""Signing in and refreshing: the one code path behind the JSON routes and the OAuth 2 token endpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import structlog
from fastapi import Depends, Request, Response
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.commands import replace_password_hash
from services.users.authentication.queries import methods_of
from services.users.credentials.authentication import Authenticated, CredentialsInvalid, PasswordAuthentication
from services.users.credentials.dependencies import PasswordAuthenticationDep, RequestLimits, RequestLimitsDep
from services.users.credentials.devices import set_cookie, token_of
from services.users.credentials.limits import LimitedUse
from services.users.credentials.queries import known_device_id
from services.users.dependencies import SettingsDep
from services.users.models.accounts import UserAccount
from services.users.models.sessions import AuthenticationMethod
from services.users.security_record.commands import origin_of
from services.users.sessions import commands
from services.users.sessions.access_tokens import AccessTokens
from services.users.sessions.challenges import SecondFactorRequired, create_challenge
from services.users.sessions.commands import FamilyRevoked, Grant
from services.users.sessions.dependencies import AccessTokensDep
from services.users.sessions.new_devices import note_device
from services.users.sessions.schemas import TokenPairView
from services.users.settings import Settings
from shared.database import Sessions
from shared.errors import Unauthenticated
from shared.http.dependencies import SessionsDep

logger = structlog.get_logger(__name__)


class RefreshTokenReused(Unauthenticated):
    """The refresh token was used before, so its session was revoked."""

    code = "refresh_token_reused"


@dataclass(frozen=True)
class SignInFlow:
    """Signs in and refreshes for one request."""

    request: Request
    response: Response
    sessions: Sessions
    settings: Settings
    authentication: PasswordAuthentication
    limits: RequestLimits
    access_tokens: AccessTokens

    async def sign_in(self, *, email: str, password: SecretStr) -> TokenPairView:
        """Start a session by e-mail address and password.

        Raises: AccountInactive, SecondFactorRequired, RateLimited, and AUTHENTICATION_PROBLEMS.
        """
        await self.limits.check(LimitedUse.SIGN_IN)
        proof = await self.authentication.authenticate(email=email, password=password)
        started = await self._start(proof)
        if isinstance(started, SecondFactorRequired):
            logger.info("second_factor_required", user_id=str(proof.account.id))
            raise started
        logger.info("session_started", user_id=str(proof.account.id), session_id=str(started.session_id))
        return await self.token_pair(started)

    async def refresh(self, refresh_token: SecretStr) -> TokenPairView:
        """Exchange a refresh token. Raises: RefreshTokenInvalid, RefreshTokenReused, RateLimited."""
        await self.limits.check(LimitedUse.REFRESH, target=refresh_token.get_secret_value())
        async with self.sessions.begin() as session:
            outcome = await commands.refresh_session(
                session,
                refresh_token=refresh_token.get_secret_value(),
                origin=origin_of(self.request),
                limits=self.settings.session_limits,
            )
        if isinstance(outcome, FamilyRevoked):
            logger.warning("refresh_token_reused", user_id=str(outcome.user_id), session_id=str(outcome.session_id))
            raise RefreshTokenReused
        return await self.token_pair(outcome)

    async def start_session(
        self, session: AsyncSession, account: UserAccount, *, methods: Sequence[AuthenticationMethod]
    ) -> Grant:
        """Start a session of an account that has authenticated by `methods`. Raises: AccountInactive.

        Commit the transaction before you call `token_pair`.
        """
        device_id = await known_device_id(session, user_id=account.id, token=token_of(self.request))
        return await self._start_on(session, account, methods=methods, device_id=device_id)

    async def token_pair(self, grant: Grant) -> TokenPairView:
        """Return the tokens of a session that has been committed; no cache may store the response."""
        self.response.headers["Cache-Control"] = "no-store"
        access_token, expires_in = await self.access_tokens.issue(
            grant.account,
            session_id=grant.session_id,
            methods=grant.methods,
            authenticated_at=grant.authenticated_at,
            ends_at=grant.ends_at,
        )
        return TokenPairView(
            access_token=access_token,
            expires_in=expires_in,
            refresh_token=grant.refresh_token,
            session_id=grant.session_id,
        )

    async def _start(self, proof: Authenticated) -> Grant | SecondFactorRequired:
        """Start a session; for an account with a second factor, commit a challenge and return the error with it."""
        account, verified_hash = proof.account, proof.account.password_hash
        async with self.sessions.begin() as session:
            if account.second_factor and account.status == "active":
                challenge = await create_challenge(session, user_id=account.id, methods=["pwd"])
                methods = (await methods_of(session, account.id)).second_factors
                return SecondFactorRequired(challenge=challenge, methods=methods)
            grant = await self._start_on(session, account, methods=["pwd"], device_id=proof.device_id)
            if grant.account.password_hash != verified_hash or grant.account.second_factor:
                # Changed since it was read. The session must not outlive the change, which has revoked all others.
                raise CredentialsInvalid
            if proof.new_hash is not None and verified_hash is not None:
                await replace_password_hash(
                    session, user_id=account.id, old_hash=verified_hash, new_hash=proof.new_hash
                )
        return grant

    async def _start_on(
        self,
        session: AsyncSession,
        account: UserAccount,
        *,
        methods: Sequence[AuthenticationMethod],
        device_id: UUID | None,
    ) -> Grant:
        """Start a session on a device. If the commit fails, the error's response has no cookie."""
        origin = origin_of(self.request)
        grant = await commands.start_session(
            session, account=account, origin=origin, methods=methods, limits=self.settings.session_limits
        )
        token = await note_device(session, account=grant.account, device_id=device_id, origin=origin)
        if token is not None:
            set_cookie(self.response, token, request=self.request)
        return grant


async def _sign_in_flow(
    request: Request,
    response: Response,
    *,
    sessions: SessionsDep,
    settings: SettingsDep,
    authentication: PasswordAuthenticationDep,
    limits: RequestLimitsDep,
    access_tokens: AccessTokensDep,
) -> SignInFlow:
    return SignInFlow(request, response, sessions, settings, authentication, limits, access_tokens)


SignInFlowDep = Annotated[SignInFlow, Depends(_sign_in_flow)]
