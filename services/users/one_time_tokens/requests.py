"""Requests for mails that carry a one-time token. The mails themselves are sent by the notifications service."""

from datetime import timedelta

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.encryption import Encryption
from services.users.models.accounts import UserAccount
from services.users.models.security_record import SecurityEvent
from services.users.one_time_tokens.commands import IssuedToken, TokenPolicy, issue_token
from services.users.security_record.commands import ANONYMOUS, Origin, append
from shared.events.users import (
    AccountMail,
    EmailChangeRequested,
    EmailVerificationRequested,
    OneTimeTokenEvent,
    PasswordResetRequested,
    SignUpAttempted,
)
from shared.jobs import enqueue
from shared.messaging.outbox.outbox import record

RESET_LINK_JOB = "mail_reset_link"
TOLD_AGAIN_AFTER = timedelta(days=1)
"""Time between two mails to an account that tell of sign-ups with its address."""


class ResetLinkRequest(BaseModel):
    """The payload of RESET_LINK_JOB, which is encrypted: the address is personal, whether or not somebody has it."""

    email: str
    unverified_only: bool
    """Mail a link only if nobody has verified the address yet, so that its owner can take the account over."""
    origin: Origin


async def enqueue_reset_link(
    session: AsyncSession, *, email: str, unverified_only: bool, origin: Origin, encryption: Encryption
) -> None:
    """Enqueue the mail of a link that resets the password, which is sent to this address if an account has it.

    Whoever measures the response finds the same work for every address.
    """
    request = ResetLinkRequest(email=email, unverified_only=unverified_only, origin=origin)
    await enqueue(session, RESET_LINK_JOB, encryption.encrypt(request.model_dump_json().encode()).encode())


async def request_email_verification(session: AsyncSession, *, account: UserAccount, policy: TokenPolicy) -> None:
    """Request the mail of a link that verifies a locked account's address. Raises: TooManyLinks."""
    issued = await issue_token(session, account=account, purpose="verify_email", email=account.email, policy=policy)
    _record_mail(session, EmailVerificationRequested, account=account, email=account.email, issued=issued)


async def request_password_reset(
    session: AsyncSession, *, account: UserAccount, policy: TokenPolicy, origin: Origin
) -> None:
    """Request the mail of a link that resets a locked account's password. Raises: TooManyLinks."""
    issued = await issue_token(session, account=account, purpose="reset_password", email=account.email, policy=policy)
    _record_mail(session, PasswordResetRequested, account=account, email=account.email, issued=issued)
    await append(session, "password_reset_requested", user_id=account.id, actor=ANONYMOUS, origin=origin)


async def tell_of_sign_up(session: AsyncSession, *, account: UserAccount, policy: TokenPolicy, origin: Origin) -> None:
    """Request the mail that tells a locked account's user of a sign-up with their address, with a link as a reset's.

    An account gets one a day at most: anyone can cause it. Raises: TooManyLinks.
    """
    told = sa.select(SecurityEvent.id).where(
        SecurityEvent.user_id == account.id,
        SecurityEvent.kind == "sign_up_attempted",
        SecurityEvent.occurred_at > sa.func.now() - TOLD_AGAIN_AFTER,
    )
    if await session.scalar(sa.select(told.exists())):
        return
    issued = await issue_token(session, account=account, purpose="reset_password", email=account.email, policy=policy)
    _record_mail(session, SignUpAttempted, account=account, email=account.email, issued=issued)
    await append(session, "sign_up_attempted", user_id=account.id, actor=ANONYMOUS, origin=origin)


async def request_email_change(
    session: AsyncSession, *, account: UserAccount, email: str, policy: TokenPolicy, origin: Origin
) -> None:
    """Request the mail, to another address, of a link that makes it a locked account's. Raises: TooManyLinks."""
    issued = await issue_token(session, account=account, purpose="change_email", email=email, policy=policy)
    _record_mail(session, EmailChangeRequested, account=account, email=email, issued=issued)
    await append(session, "email_change_requested", user_id=account.id, actor=account.id, origin=origin)


def _record_mail(
    session: AsyncSession, event: type[OneTimeTokenEvent], *, account: UserAccount, email: str, issued: IssuedToken
) -> None:
    personal = account.seal(AccountMail(email=email, token=issued.token))
    record(session, event(user_id=account.id, personal=personal, locale=account.locale, expires_at=issued.expires_at))
