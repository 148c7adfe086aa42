"""Routes of recovery: reset and change a password."""

import structlog
from fastapi import APIRouter, Depends, Request

from services.users.accounts.queries import UserNotFound, account_of
from services.users.authentication.dependencies import RECENTLY_AUTHENTICATED, STEP_UP_PROBLEMS
from services.users.credentials.dependencies import PasswordPolicyDep, PasswordsDep, RequestLimitsDep
from services.users.credentials.hashing_queue import HashingOverloaded
from services.users.credentials.limits import LimitedUse, email_target
from services.users.credentials.policy import PASSWORD_PROBLEMS
from services.users.dependencies import EncryptionDep
from services.users.one_time_tokens.commands import OneTimeTokenInvalid
from services.users.one_time_tokens.requests import enqueue_reset_link
from services.users.recovery import commands
from services.users.recovery.dependencies import (
    PasswordReplacementDep,
    TokenPolicyDep,
)
from services.users.recovery.schemas import (
    MailedLinkView,
    PasswordChange,
    PasswordResetConfirmation,
    PasswordResetRequest,
)
from services.users.security_record.commands import origin_of
from services.users.sessions.commands import AccountInactive
from shared.http.auth import Caller, public
from shared.http.dependencies import SessionsDep
from shared.http.disconnects import while_connected
from shared.http.problems import responses

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1", tags=["recovery"])


@router.post(
    "/password-resets",
    status_code=202,
    summary="Ask for a new password",
    dependencies=[Depends(public)],
    response_description="If there is such an account, a mail to its address is on its way.",
)
async def ask_for_password_reset(
    body: PasswordResetRequest,
    *,
    request: Request,
    limits: RequestLimitsDep,
    sessions: SessionsDep,
    encryption: EncryptionDep,
    policy: TokenPolicyDep,
) -> MailedLinkView:
    """Send a link that sets a new password, if an account has this address.

    The response is the same, and takes the same time, whether or not there is such an account.
    """
    await limits.check(LimitedUse.MAILED_LINK, target=email_target(body.email))
    async with sessions.begin() as session:
        await enqueue_reset_link(
            session, email=body.email, unverified_only=False, origin=origin_of(request), encryption=encryption
        )
    return MailedLinkView.lasting(policy.lifetimes["reset_password"])


@router.post(
    "/password-resets/confirmation",
    status_code=204,
    summary="Set a new password with a mailed link",
    dependencies=[Depends(public)],
    responses=responses(OneTimeTokenInvalid, HashingOverloaded, *PASSWORD_PROBLEMS),
)
async def reset_password(
    body: PasswordResetConfirmation, request: Request, sessions: SessionsDep, replacement: PasswordReplacementDep
) -> None:
    """Set a new password, and end all sessions. The user is told by mail.

    The token proves the address: it is verified from then on. If it was not before, everything else that was set on the
    account is removed, because somebody else may have set it.
    """
    token = body.token.get_secret_value()
    new_hash = await replacement.hash(body.new_password, token=token, purpose="reset_password")
    async with sessions.begin() as session:
        reset = await commands.reset_password(session, token=token, new_hash=new_hash, origin=origin_of(request))
    logger.info("password_reset", user_id=str(reset.user_id), is_taken_over=reset.is_taken_over)


@router.put(
    "/users/me/password",
    status_code=204,
    summary="Set your password",
    dependencies=[RECENTLY_AUTHENTICATED],
    responses=responses(*STEP_UP_PROBLEMS, UserNotFound, AccountInactive, HashingOverloaded, *PASSWORD_PROBLEMS),
)
async def change_own_password(
    body: PasswordChange,
    *,
    request: Request,
    caller: Caller,
    sessions: SessionsDep,
    passwords: PasswordsDep,
    password_policy: PasswordPolicyDep,
) -> None:
    """Set a password, and end all of your other sessions. The user is told by mail.

    It replaces the present one, or becomes the first one of an account that signs in with passkeys.
    """
    async with sessions() as session:
        account = await account_of(session, caller.user_id)
    password_policy.check(body.new_password, personal=(account.email, account.name))
    new_hash = await while_connected(request, passwords.hash(body.new_password, use="change"))
    async with sessions.begin() as session:
        await commands.change_password(
            session,
            user_id=caller.user_id,
            new_hash=new_hash,
            session_id=caller.session_id,
            origin=origin_of(request),
        )
    logger.info("password_changed", user_id=str(caller.user_id))
