"""Routes that verify a second factor: the second step of a sign-in, and step-up."""

from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Request, Response

from services.users.accounts.queries import account_of
from services.users.authentication.commands import SessionEnded, renew_authentication
from services.users.authentication.dependencies import CurrentSession, StepUpRequired
from services.users.authentication.queries import methods_of
from services.users.credentials.dependencies import PasswordsDep, SignInThrottleDep
from services.users.credentials.throttling import TooManyAttempts
from services.users.dependencies import SettingsDep
from services.users.models.accounts import UserAccount
from services.users.models.sessions import AuthenticationMethod
from services.users.second_factors.dependencies import VerifierDep
from services.users.second_factors.schemas import SecondFactor, StepUp
from services.users.second_factors.verification import TooManyCodes
from services.users.security_record.commands import origin_of
from services.users.sessions.challenges import ChallengeInvalid, end_challenge, take_challenge
from services.users.sessions.commands import AccountInactive, start_session
from services.users.sessions.dependencies import AccessTokensDep
from services.users.sessions.routes import CredentialsInvalid, token_pair
from services.users.sessions.schemas import TokenPairView
from shared.database import Sessions
from shared.errors import Unauthenticated
from shared.http.auth import Caller, public
from shared.http.dependencies import SessionsDep
from shared.http.problems import responses
from shared.http.rate_limit import client_address

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


class SecondFactorInvalid(Unauthenticated):
    """The second factor is wrong, or it was used before."""

    code = "second_factor_invalid"


@router.post(
    "/second-factor",
    status_code=201,
    summary="Complete a sign-in by the second factor",
    dependencies=[Depends(public)],
    responses=responses(ChallengeInvalid, SecondFactorInvalid, AccountInactive, TooManyCodes),
)
async def sign_in_with_second_factor(
    body: SecondFactor,
    *,
    request: Request,
    response: Response,
    sessions: SessionsDep,
    settings: SettingsDep,
    access_tokens: AccessTokensDep,
    verifier: VerifierDep,
) -> TokenPairView:
    """Exchange the challenge of `POST /v1/sessions` and a second factor for an access token and a refresh token.

    A challenge is valid for five minutes and five answers. Then sign in again.
    """
    origin, challenge = origin_of(request), body.challenge.get_secret_value()
    async with sessions.begin() as session:
        account = await take_challenge(session, challenge=challenge)
        method = await verifier.verify(session, body, user_id=account.id, origin=origin)
        if method is not None:
            await end_challenge(session, challenge=challenge)
            grant = await start_session(
                session,
                account=account,
                origin=origin,
                methods=["password", method],
                lifetime=settings.refresh_token_lifetime,
            )
    if method is None:
        logger.warning("second_factor_rejected", user_id=str(account.id))
        raise SecondFactorInvalid
    logger.info("session_started", user_id=str(account.id), session_id=str(grant.session_id))
    return token_pair(grant, access_tokens=access_tokens, response=response)


@router.post(
    "/step-up",
    status_code=204,
    summary="Authenticate again in your session",
    responses=responses(
        StepUpRequired, SessionEnded, CredentialsInvalid, SecondFactorInvalid, TooManyAttempts, TooManyCodes
    ),
)
async def step_up(
    body: StepUp,
    *,
    request: Request,
    caller: Caller,
    session_id: CurrentSession,
    sessions: SessionsDep,
    passwords: PasswordsDep,
    throttle: SignInThrottleDep,
    verifier: VerifierDep,
) -> None:
    """Prove again who you are, so that your session may make sensitive changes for some minutes.

    An account with a second factor needs it here, and the password is not accepted. Your tokens stay the same.
    """
    if "password" in body.proofs:
        account = await _account_without_second_factor(caller.user_id, sessions=sessions)
        attempt = throttle.attempt(email=account.email, address=client_address(request), failure=CredentialsInvalid)
        async with attempt:
            check = await passwords.verify(body.password, stored_hash=account.password_hash)
            if not check.is_right:
                raise CredentialsInvalid
    async with sessions.begin() as session:
        method: AuthenticationMethod | None = "password"
        if "password" not in body.proofs:
            method = await verifier.verify(session, body, user_id=caller.user_id, origin=origin_of(request))
        if method is not None:
            await renew_authentication(session, session_id=session_id, user_id=caller.user_id, method=method)
    if method is None:
        logger.warning("second_factor_rejected", user_id=str(caller.user_id))
        raise SecondFactorInvalid
    logger.info("session_stepped_up", user_id=str(caller.user_id), session_id=str(session_id), method=method)


async def _account_without_second_factor(user_id: UUID, *, sessions: Sessions) -> UserAccount:
    """Return an account whose password is enough. Raises: StepUpRequired, UserNotFound."""
    async with sessions() as session:
        account = await account_of(session, user_id)
        if account.second_factor:
            raise StepUpRequired((await methods_of(session, user_id)).for_step_up)
        return account
