"""Routes of recovery: verify and change an e-mail address, reset and change a password."""

import structlog
from fastapi import APIRouter, Depends, Request

from services.users.accounts.commands import EmailTaken
from services.users.accounts.queries import UserNotFound, account_of
from services.users.authentication.dependencies import RECENTLY_AUTHENTICATED, STEP_UP_PROBLEMS
from services.users.credentials.dependencies import PasswordPolicyDep, PasswordsDep, RequestLimitsDep
from services.users.credentials.hashing_queue import HashingOverloaded
from services.users.credentials.limits import LimitedUse, email_target
from services.users.credentials.policy import PASSWORD_PROBLEMS
from services.users.dependencies import EncryptionDep
from services.users.one_time_tokens.commands import OneTimeTokenInvalid, TooManyLinks, open_token
from services.users.one_time_tokens.requests import enqueue_reset_link
from services.users.recovery import commands
from services.users.recovery.commands import EmailAlreadyVerified, EmailUnchanged
from services.users.recovery.dependencies import TokenPolicyDep
from services.users.recovery.schemas import (
    EmailChange,
    EmailChangeRequest,
    EmailVerification,
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
    "/users/me/email-verification",
    status_code=202,
    summary="Get another mail that verifies your address",
    response_description="The mail is on its way.",
    responses=responses(UserNotFound, AccountInactive, EmailAlreadyVerified, TooManyLinks),
)
async def send_verification_again(caller: Caller, sessions: SessionsDep, policy: TokenPolicyDep) -> MailedLinkView:
    """Send a new link to your address. The links of earlier mails no longer work."""
    async with sessions.begin() as session:
        await commands.send_verification_again(session, user_id=caller.user_id, policy=policy)
    logger.info("email_verification_requested", user_id=str(caller.user_id))
    return MailedLinkView.lasting(policy.lifetimes["verify_email"])


@router.post(
    "/email-verifications",
    status_code=204,
    summary="Verify an address",
    dependencies=[Depends(public)],
    responses=responses(OneTimeTokenInvalid),
)
async def verify_email(body: EmailVerification, request: Request, sessions: SessionsDep) -> None:
    """Prove, with the token of a mailed link, that an account's address is yours. A token works once."""
    async with sessions.begin() as session:
        user_id = await commands.verify_email(session, token=body.token.get_secret_value(), origin=origin_of(request))
    logger.info("email_verified", user_id=str(user_id))


@router.post(
    "/users/me/email-change",
    status_code=202,
    summary="Ask for another address",
    response_description="A mail to the new address is on its way.",
    dependencies=[RECENTLY_AUTHENTICATED],
    responses=responses(*STEP_UP_PROBLEMS, UserNotFound, AccountInactive, EmailUnchanged, TooManyLinks),
)
async def ask_for_email_change(
    body: EmailChangeRequest,
    *,
    request: Request,
    caller: Caller,
    limits: RequestLimitsDep,
    sessions: SessionsDep,
    policy: TokenPolicyDep,
) -> MailedLinkView:
    """Send a link to the new address. Your address stays as it is until the link is used.

    The response does not tell whether another account has the new address.
    """
    await limits.check(LimitedUse.MAILED_LINK, target=email_target(body.email))
    async with sessions.begin() as session:
        await commands.ask_for_email_change(
            session, user_id=caller.user_id, email=body.email, policy=policy, origin=origin_of(request)
        )
    logger.info("email_change_requested", user_id=str(caller.user_id))
    return MailedLinkView.lasting(policy.lifetimes["change_email"])


@router.post(
    "/email-changes",
    status_code=204,
    summary="Change an address",
    dependencies=[Depends(public)],
    responses=responses(OneTimeTokenInvalid, EmailTaken),
)
async def change_email(body: EmailChange, request: Request, sessions: SessionsDep) -> None:
    """Prove, with the token of a mailed link, that the new address is yours, and make it the account's address.

    Sessions stay open, and the former address is told. An account that never verified the new address gives way, unless
    it has credit in use. After `email_taken` the token can still be used.
    """
    async with sessions.begin() as session:
        user_id = await commands.change_email(session, token=body.token.get_secret_value(), origin=origin_of(request))
    logger.info("email_changed", user_id=str(user_id))


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
    body: PasswordResetConfirmation,
    request: Request,
    sessions: SessionsDep,
    passwords: PasswordsDep,
    password_policy: PasswordPolicyDep,
) -> None:
    """Set a new password, and end all sessions. The user is told by mail.

    The token proves the address: it is verified from then on. If it was not before, everything else that was set on the
    account is removed, because somebody else may have set it.
    """
    token = body.token.get_secret_value()
    async with sessions() as session:
        # An invalid token must not cost a hash.
        opened = await open_token(session, token=token, purpose="reset_password")
    password_policy.check(body.new_password, personal=(opened.email,))
    new_hash = await while_connected(request, passwords.hash(body.new_password, use="change"))
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
