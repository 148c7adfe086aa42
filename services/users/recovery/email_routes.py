"""Routes of recovery: verify and change an e-mail address.

A mailed token shows only who reads the mails of an address. So that a careless click does not give a stranger's account
a verified address, each route demands more: a session of the account, its password, or a new password, which takes the
account over.
"""

import structlog
from fastapi import APIRouter, Depends, Request

from services.users.accounts.commands import EmailTaken
from services.users.accounts.queries import UserNotFound
from services.users.authentication.dependencies import RECENTLY_AUTHENTICATED, STEP_UP_PROBLEMS
from services.users.credentials.dependencies import RequestLimitsDep
from services.users.credentials.hashing_queue import HashingOverloaded
from services.users.credentials.limits import LimitedUse, email_target
from services.users.credentials.policy import PASSWORD_PROBLEMS
from services.users.one_time_tokens.commands import OneTimeTokenInvalid, TooManyLinks
from services.users.recovery import commands
from services.users.recovery.commands import EmailAlreadyVerified, EmailUnchanged, Proof
from services.users.recovery.dependencies import (
    CONFIRMATION_PROBLEMS,
    OwnTokenPermit,
    PasswordConfirmationDep,
    PasswordReplacementDep,
    TokenPolicyDep,
)
from services.users.recovery.schemas import (
    EmailChange,
    EmailChangeRequest,
    EmailVerification,
    EmailVerificationWithNewPassword,
    MailedLinkView,
    MailedToken,
)
from services.users.security_record.commands import origin_of
from services.users.sessions.commands import AccountInactive
from shared.database import Sessions
from shared.http.auth import Caller, public
from shared.http.dependencies import SessionsDep
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
    "/users/me/email-verification/confirmation",
    status_code=204,
    summary="Verify your address",
    responses=responses(OneTimeTokenInvalid),
)
async def verify_own_email(body: MailedToken, request: Request, permit: OwnTokenPermit, sessions: SessionsDep) -> None:
    """Prove, with the token of a mailed link, that the address of your account is yours. A token works once."""
    await _verify(body.token.get_secret_value(), permit, request, sessions)


@router.post(
    "/email-verifications",
    status_code=204,
    summary="Verify an address",
    dependencies=[Depends(public)],
    responses=responses(OneTimeTokenInvalid, *CONFIRMATION_PROBLEMS),
)
async def verify_email(
    body: EmailVerification, request: Request, sessions: SessionsDep, confirmation: PasswordConfirmationDep
) -> None:
    """Prove, with the token of a mailed link, that the address of the account with this password is yours.

    A token works once. After a wrong password it can still be used. Who does not know the password can set a new one.
    """
    token = body.token.get_secret_value()
    proof = await confirmation.of_token(token, purpose="verify_email", password=body.password)
    await _verify(token, proof, request, sessions)


@router.post(
    "/email-verifications/new-password",
    status_code=204,
    summary="Verify an address with a new password",
    dependencies=[Depends(public)],
    responses=responses(OneTimeTokenInvalid, HashingOverloaded, *PASSWORD_PROBLEMS),
)
async def verify_email_with_new_password(
    body: EmailVerificationWithNewPassword,
    request: Request,
    sessions: SessionsDep,
    replacement: PasswordReplacementDep,
) -> None:
    """Prove, with the token of a mailed link, that an account's address is yours, and take the account over.

    All sessions end, and everything else that was set on the account is removed, because somebody else may have set it.
    """
    token = body.token.get_secret_value()
    new_hash = await replacement.hash(body.new_password, token=token, purpose="verify_email")
    async with sessions.begin() as session:
        reset = await commands.reset_password(
            session, token=token, purpose="verify_email", new_hash=new_hash, origin=origin_of(request)
        )
    logger.info("password_reset", user_id=str(reset.user_id), is_taken_over=reset.is_taken_over)


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
    "/users/me/email-change/confirmation",
    status_code=204,
    summary="Change your address",
    responses=responses(OneTimeTokenInvalid, EmailTaken),
)
async def change_own_email(body: MailedToken, request: Request, permit: OwnTokenPermit, sessions: SessionsDep) -> None:
    """Prove, with the token of a mailed link, that the new address is yours, and make it the address of your account.

    Sessions stay open, and the former address is told. An account that never verified the new address gives way, unless
    it has credit in use. After `email_taken` the token can still be used.
    """
    await _change(body.token.get_secret_value(), permit, request, sessions)


@router.post(
    "/email-changes",
    status_code=204,
    summary="Change an address",
    dependencies=[Depends(public)],
    responses=responses(OneTimeTokenInvalid, EmailTaken, *CONFIRMATION_PROBLEMS),
)
async def change_email(
    body: EmailChange, request: Request, sessions: SessionsDep, confirmation: PasswordConfirmationDep
) -> None:
    """Prove that the new address is yours, and make it the address of the account with this password.

    The effect is that of "Change your address". After a wrong password the token can still be used.
    """
    token = body.token.get_secret_value()
    proof = await confirmation.of_token(token, purpose="change_email", password=body.password)
    await _change(token, proof, request, sessions)


async def _verify(token: str, proof: Proof, request: Request, sessions: Sessions) -> None:
    async with sessions.begin() as session:
        user_id = await commands.verify_email(session, token=token, proof=proof, origin=origin_of(request))
    logger.info("email_verified", user_id=str(user_id))


async def _change(token: str, proof: Proof, request: Request, sessions: Sessions) -> None:
    async with sessions.begin() as session:
        user_id = await commands.change_email(session, token=token, proof=proof, origin=origin_of(request))
    logger.info("email_changed", user_id=str(user_id))
