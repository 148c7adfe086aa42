"""Routes that verify a second factor: the second step of a sign-in, and step-up."""

from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Request

from services.users.accounts.queries import account_of
from services.users.authentication.commands import SessionEnded, renew_authentication
from services.users.authentication.dependencies import CurrentSession, StepUpRequired
from services.users.authentication.queries import methods_of
from services.users.credentials.authentication import AUTHENTICATION_PROBLEMS
from services.users.credentials.dependencies import PasswordAuthenticationDep, RequestLimitsDep
from services.users.credentials.limits import LimitedUse
from services.users.models.accounts import UserAccount
from services.users.models.sessions import AuthenticationMethod
from services.users.second_factors.dependencies import VerifierDep
from services.users.second_factors.schemas import SecondFactor, StepUp
from services.users.second_factors.verification import TooManyCodes
from services.users.security_record.commands import origin_of
from services.users.sessions.challenges import ChallengeInvalid, end_challenge, take_challenge
from services.users.sessions.commands import AccountInactive
from services.users.sessions.schemas import TokenPairView
from services.users.sessions.sign_in import SignInFlowDep
from shared.database import Sessions
from shared.errors import Unauthenticated
from shared.http.auth import Caller, public
from shared.http.dependencies import SessionsDep
from shared.http.problems import responses

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
    body: SecondFactor, *, request: Request, flow: SignInFlowDep, sessions: SessionsDep, verifier: VerifierDep
) -> TokenPairView:
    """Exchange the challenge of `POST /v1/sessions` and a second factor for an access token and a refresh token.

    A challenge is valid for five minutes and five answers. Then sign in again.
    """
    await flow.limits.check(LimitedUse.SIGN_IN)
    challenge = body.challenge.get_secret_value()
    async with sessions.begin() as session:
        account = await take_challenge(session, challenge=challenge)
        method = await verifier.verify(session, body, user_id=account.id, origin=origin_of(request))
        if method is not None:
            first = await end_challenge(session, challenge=challenge)
            grant = await flow.start_session(session, account, methods=[*first, method])
    if method is None:
        logger.warning("second_factor_rejected", user_id=str(account.id), network=flow.limits.networks.site)
        raise SecondFactorInvalid
    logger.info("session_started", user_id=str(account.id), session_id=str(grant.session_id))
    return await flow.token_pair(grant)


@router.post(
    "/step-up",
    status_code=204,
    summary="Authenticate again in your session",
    responses=responses(StepUpRequired, SessionEnded, *AUTHENTICATION_PROBLEMS, SecondFactorInvalid, TooManyCodes),
)
async def step_up(
    body: StepUp,
    *,
    request: Request,
    caller: Caller,
    session_id: CurrentSession,
    sessions: SessionsDep,
    authentication: PasswordAuthenticationDep,
    limits: RequestLimitsDep,
    verifier: VerifierDep,
) -> None:
    """Prove again who you are, so that your session may make sensitive changes for some minutes.

    An account with a second factor needs it here, and the password is not accepted. Your tokens stay the same.
    """
    await limits.check(LimitedUse.SIGN_IN)
    if "password" in body.proofs:
        account = await _account_without_second_factor(caller.user_id, sessions=sessions)
        await authentication.authenticate(email=account.email, password=body.password)
    async with sessions.begin() as session:
        method: AuthenticationMethod | None = "pwd"
        if "password" not in body.proofs:
            method = await verifier.verify(session, body, user_id=caller.user_id, origin=origin_of(request))
        if method is not None:
            await renew_authentication(session, session_id=session_id, user_id=caller.user_id, method=method)
    if method is None:
        logger.warning("second_factor_rejected", user_id=str(caller.user_id), network=limits.networks.site)
        raise SecondFactorInvalid
    logger.info("session_stepped_up", user_id=str(caller.user_id), session_id=str(session_id), method=method)


async def _account_without_second_factor(user_id: UUID, *, sessions: Sessions) -> UserAccount:
    """Return an account whose password is enough. Raises: StepUpRequired, UserNotFound."""
    async with sessions() as session:
        account = await account_of(session, user_id)
        if account.second_factor:
            raise StepUpRequired((await methods_of(session, user_id)).for_step_up)
        return account
