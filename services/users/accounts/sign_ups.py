"""Sign-ups: create the account and mail a link that verifies its address, at once or after the response.

After the response, so that a sign-up does not tell whether its address is known: the response is the same, and takes
the same time, and a mail says how to continue.
"""

from contextlib import suppress
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.commands import EmailTaken, Profile, create_account
from services.users.accounts.queries import lock_account_with_email
from services.users.encryption import Encryption
from services.users.models.accounts import UserAccount
from services.users.one_time_tokens.commands import TooManyLinks, token_policy
from services.users.one_time_tokens.requests import request_email_verification, tell_of_sign_up
from services.users.security_record.commands import Origin
from services.users.settings import Settings
from shared.jobs import enqueue

SIGN_UP_JOB = "sign_up"


class NewUser(BaseModel):
    """A sign-up. As the payload of SIGN_UP_JOB it is encrypted."""

    user_id: UUID
    profile: Profile
    password_hash: str
    origin: Origin


async def sign_up(session: AsyncSession, user: NewUser, *, settings: Settings) -> UserAccount:
    """Create an account and mail a link that verifies its address. Raises: EmailTaken."""
    account = await create_account(
        session,
        user_id=user.user_id,
        profile=user.profile,
        password_hash=user.password_hash,
        credit_limit_cents=settings.default_credit_limit_cents,
        credit_currency=settings.credit_currency,
        origin=user.origin,
    )
    await request_email_verification(session, account=account, policy=token_policy(settings))
    return account


async def enqueue_sign_up(session: AsyncSession, user: NewUser, *, encryption: Encryption) -> None:
    """Sign a user up after the response."""
    await enqueue(session, SIGN_UP_JOB, encryption.encrypt(user.model_dump_json().encode()).encode())


async def sign_up_or_tell(session: AsyncSession, user: NewUser, *, settings: Settings) -> bool:
    """Sign a user up, or tell the owner of the address's account by mail that there is one. Repeatable.

    Returns whether there is a new account.
    """
    with suppress(EmailTaken):
        await sign_up(session, user, settings=settings)
        return True
    account = await lock_account_with_email(session, user.profile.email)
    # With the same id, it was created by an earlier run of this job.
    if account is not None and account.id != user.user_id and account.status == "active":
        with suppress(TooManyLinks):
            await tell_of_sign_up(session, account=account, policy=token_policy(settings), origin=user.origin)
    return False
