"""Routes of a user's own second factors: the authenticator app, recovery codes, removing the password."""

import structlog
from fastapi import APIRouter, Request, Response

from services.users.authentication.commands import LastWayIn, SessionEnded
from services.users.authentication.dependencies import RECENTLY_AUTHENTICATED, STEP_UP_PROBLEMS, CurrentSession
from services.users.authentication.queries import methods_of
from services.users.dependencies import EncryptionDep
from services.users.second_factors import commands
from services.users.second_factors.commands import (
    CodeWrong,
    PasswordMissing,
    SecondFactorMissing,
    TotpExists,
    TotpNotFound,
)
from services.users.second_factors.schemas import (
    FirstRecoveryCodesView,
    MethodsView,
    RecoveryCodesView,
    TotpConfirmation,
    TotpView,
)
from services.users.security_record.commands import origin_of
from shared.http.auth import Caller
from shared.http.dependencies import SessionsDep
from shared.http.problems import responses

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/users/me", tags=["second factors"])


@router.get("/sign-in-methods", summary="Read how you can sign in")
async def read_own_sign_in_methods(caller: Caller, sessions: SessionsDep) -> MethodsView:
    """Return by which methods you can authenticate."""
    async with sessions() as session:
        return MethodsView.model_validate(await methods_of(session, caller.user_id))


@router.post(
    "/totp",
    summary="Start to add an authenticator app",
    dependencies=[RECENTLY_AUTHENTICATED],
    responses=responses(*STEP_UP_PROBLEMS, TotpExists),
)
async def start_totp(caller: Caller, encryption: EncryptionDep, sessions: SessionsDep, response: Response) -> TotpView:
    """Return a new secret for the app. It has no effect until `POST /v1/users/me/totp/confirmation` confirms it.

    Starting again replaces the secret.
    """
    async with sessions.begin() as session:
        secret = await commands.start_totp(session, user_id=caller.user_id, encryption=encryption)
    response.headers["Cache-Control"] = "no-store"
    return TotpView(secret=secret.text, uri=secret.uri)


@router.post(
    "/totp/confirmation",
    summary="Confirm an authenticator app",
    responses=responses(SessionEnded, TotpNotFound, CodeWrong),
)
async def confirm_totp(
    body: TotpConfirmation,
    *,
    caller: Caller,
    session_id: CurrentSession,
    encryption: EncryptionDep,
    sessions: SessionsDep,
    request: Request,
    response: Response,
) -> FirstRecoveryCodesView:
    """Add the app by a code that it shows. From now on your password alone does not sign in."""
    async with sessions.begin() as session:
        codes = await commands.confirm_totp(
            session,
            user_id=caller.user_id,
            session_id=session_id,
            code=body.code,
            encryption=encryption,
            origin=origin_of(request),
        )
    logger.info("totp_added", user_id=str(caller.user_id))
    response.headers["Cache-Control"] = "no-store"
    return FirstRecoveryCodesView(recovery_codes=codes)


@router.delete(
    "/totp",
    status_code=204,
    summary="Remove your authenticator app",
    dependencies=[RECENTLY_AUTHENTICATED],
    responses=responses(*STEP_UP_PROBLEMS, TotpNotFound),
)
async def remove_totp(caller: Caller, sessions: SessionsDep, request: Request) -> None:
    """Remove the app, or one that waits for its confirmation. With the last second factor the recovery codes go too."""
    async with sessions.begin() as session:
        await commands.remove_totp(session, user_id=caller.user_id, origin=origin_of(request))
    logger.info("totp_removed", user_id=str(caller.user_id))


@router.post(
    "/recovery-codes",
    summary="Replace your recovery codes",
    dependencies=[RECENTLY_AUTHENTICATED],
    responses=responses(*STEP_UP_PROBLEMS, SecondFactorMissing),
)
async def replace_recovery_codes(
    caller: Caller, sessions: SessionsDep, request: Request, response: Response
) -> RecoveryCodesView:
    """Return ten new recovery codes. The old ones, used or not, are not accepted any more."""
    async with sessions.begin() as session:
        codes = await commands.replace_recovery_codes(session, user_id=caller.user_id, origin=origin_of(request))
    logger.info("recovery_codes_replaced", user_id=str(caller.user_id))
    response.headers["Cache-Control"] = "no-store"
    return RecoveryCodesView(recovery_codes=codes)


@router.delete(
    "/password",
    status_code=204,
    summary="Remove your password",
    dependencies=[RECENTLY_AUTHENTICATED],
    responses=responses(*STEP_UP_PROBLEMS, PasswordMissing, LastWayIn),
)
async def remove_own_password(caller: Caller, sessions: SessionsDep, request: Request) -> None:
    """Remove the password, so that only passkeys sign in. A password reset sets a new one.

    You need two passkeys, or a passkey and a recovery code.
    """
    async with sessions.begin() as session:
        await commands.remove_password(session, user_id=caller.user_id, origin=origin_of(request))
    logger.info("password_removed", user_id=str(caller.user_id))
