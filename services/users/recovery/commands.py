"""Commands of recovery: verify and change an address, reset and change a password."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.commands import EmailTaken, user_updated
from services.users.accounts.queries import accounts_by_id_or_email, lock_account_with_email
from services.users.models.accounts import UserAccount
from services.users.models.one_time_tokens import TokenPurpose
from services.users.one_time_tokens.commands import (
    TokenPolicy,
    invalidate_tokens,
    open_token,
    redeem_token,
)
from services.users.one_time_tokens.requests import (
    ResetLinkRequest,
    request_email_change,
    request_email_verification,
    request_password_reset,
)
from services.users.recovery.queries import lock_active_account
from services.users.recovery.take_over import take_over
from services.users.recovery.unverified_accounts import purge_if_unverified
from services.users.security_record.commands import Origin, append
from services.users.sessions.revocation import revoke_all_sessions
from shared.errors import Conflict, Forbidden
from shared.events.users import AccountMail, EmailChanged, EmailVerified, PasswordChanged
from shared.http.auth import Permit
from shared.messaging.outbox.outbox import record


class EmailAlreadyVerified(Conflict):
    """The account's e-mail address is verified already."""

    code = "email_already_verified"


class EmailUnchanged(Conflict):
    """The account has this e-mail address already."""

    code = "email_unchanged"


class PasswordWrong(Forbidden):
    """The present password is wrong."""

    code = "password_wrong"


class CheckedPassword(NamedTuple):
    """The hash of the account's password that was checked."""

    user_id: UUID
    hash: str | None


Proof = CheckedPassword | Permit
"""The proof that an account is the caller's: its password, or the permit of the signed-in user.

A mailed token shows only who reads the mails of its address: somebody else may have typed that address.
"""


@dataclass(frozen=True)
class PasswordReset:
    """The account whose password was reset, and whether its owner has taken it over from somebody else."""

    user_id: UUID
    is_taken_over: bool


async def send_verification_again(session: AsyncSession, *, user_id: UUID, policy: TokenPolicy) -> None:
    """Request another mail that verifies the account's address.

    Raises: UserNotFound, AccountInactive, EmailAlreadyVerified, TooManyLinks.
    """
    account = await lock_active_account(session, user_id)
    if account.email_verified_at is not None:
        raise EmailAlreadyVerified
    await request_email_verification(session, account=account, policy=policy)


async def verify_email(session: AsyncSession, *, token: str, proof: Proof, origin: Origin) -> UUID:
    """Mark the address of a token's account as verified; return the user's id.

    Raises: OneTimeTokenInvalid, PasswordWrong.
    """
    account = await _redeem_own(session, token=token, purpose="verify_email", proof=proof)
    account.email_verified_at = account.updated_at = datetime.now(UTC)
    await session.flush()  # sets the version, after which the event is the account's present state
    record(session, user_updated(account))
    await _record_verified(session, account, origin=origin)
    return account.id


async def mail_reset_link(session: AsyncSession, request: ResetLinkRequest, *, policy: TokenPolicy) -> UUID | None:
    """Request the mail of a reset link, if an active account has the address; return the user's id.

    Raises: TooManyLinks.
    """
    account = await lock_account_with_email(session, request.email)
    if account is None or account.status != "active":
        return None
    if request.unverified_only and account.email_verified_at is not None:
        return None
    await request_password_reset(session, account=account, policy=policy, origin=request.origin)
    return account.id


async def reset_password(
    session: AsyncSession,
    *,
    token: str,
    purpose: Literal["reset_password", "verify_email"] = "reset_password",
    new_hash: str,
    origin: Origin,
) -> PasswordReset:
    """Set a new password, end all sessions, and let all open links no longer work.

    The token proves the address. If nobody had, its holder takes the account over. Raises: OneTimeTokenInvalid.
    """
    account = (await redeem_token(session, token=token, purpose=purpose)).account
    is_taken_over = account.email_verified_at is None
    if is_taken_over:
        await take_over(session, account)
        await _record_verified(session, account, origin=origin)
    else:
        await revoke_all_sessions(session, user_id=account.id)
        await invalidate_tokens(session, user_id=account.id, purposes=["change_email", "reset_password"])
    await _set_password(session, account, new_hash)
    record(session, PasswordChanged(user_id=account.id))
    details = {"is_taken_over": is_taken_over}
    await append(session, "password_reset", user_id=account.id, actor=account.id, origin=origin, details=details)
    return PasswordReset(account.id, is_taken_over)


async def change_password(
    session: AsyncSession, *, user_id: UUID, new_hash: str, session_id: UUID | None, origin: Origin
) -> None:
    """Set a new password and end all sessions but the caller's. Raises: UserNotFound, AccountInactive."""
    account = await lock_active_account(session, user_id)
    await revoke_all_sessions(session, user_id=user_id, except_session_id=session_id)
    await _set_password(session, account, new_hash)
    await invalidate_tokens(session, user_id=user_id, purposes=["change_email", "reset_password"])
    record(session, PasswordChanged(user_id=user_id))
    await append(session, "password_changed", user_id=user_id, actor=user_id, origin=origin)


async def ask_for_email_change(
    session: AsyncSession, *, user_id: UUID, email: str, policy: TokenPolicy, origin: Origin
) -> None:
    """Request a mail to the new address, even if another account has it: only its holder may learn that.

    Raises: UserNotFound, AccountInactive, EmailUnchanged, TooManyLinks.
    """
    account = await lock_active_account(session, user_id)
    if account.email == email:
        raise EmailUnchanged
    await request_email_change(session, account=account, email=email, policy=policy, origin=origin)


async def change_email(session: AsyncSession, *, token: str, proof: Proof, origin: Origin) -> UUID:
    """Replace the address of a token's account by the one that the token was sent to; return the user's id.

    An account that holds this address and never verified it is purged: the token's holder has proved the address.
    Raises: OneTimeTokenInvalid, PasswordWrong, EmailTaken.
    """
    proved = await open_token(session, token=token, purpose="change_email")
    # Both at once, ordered by id: two users who change to each other's addresses would deadlock.
    locked = await session.scalars(accounts_by_id_or_email(proved.user_id, proved.email).with_for_update())
    account = await _redeem_own(session, token=token, purpose="change_email", proof=proof)
    for other in [each for each in locked if each.id != account.id]:
        if not await purge_if_unverified(session, user_id=other.id):
            raise EmailTaken
    former, was_verified = account.email, account.email_verified_at is not None
    account.email = proved.email
    account.email_verified_at = account.updated_at = datetime.now(UTC)
    try:
        await session.flush()  # somebody may have signed up with the address since
    except IntegrityError as error:
        if "ix_user_account_lower_email" not in str(error.orig):
            raise
        raise EmailTaken from None
    await invalidate_tokens(session, user_id=account.id, purposes=["verify_email", "change_email", "reset_password"])
    record(session, user_updated(account))
    if was_verified:
        mail = account.seal(AccountMail(email=former, token=""))
        record(session, EmailChanged(user_id=account.id, personal=mail, locale=account.locale))
    else:
        await _record_verified(session, account, origin=origin)
    await append(session, "email_changed", user_id=account.id, actor=account.id, origin=origin)
    return account.id


async def _redeem_own(session: AsyncSession, *, token: str, purpose: TokenPurpose, proof: Proof) -> UserAccount:
    """Use up a token of the caller's account, and return the account, locked."""
    account = (await redeem_token(session, token=token, purpose=purpose)).account
    if isinstance(proof, Permit):
        proof.check_owner(account.id)
    elif proof != (account.id, account.password_hash):
        raise PasswordWrong  # changed since it was checked
    return account


async def _record_verified(session: AsyncSession, account: UserAccount, *, origin: Origin) -> None:
    record(session, EmailVerified(user_id=account.id))
    await append(session, "email_verified", user_id=account.id, actor=account.id, origin=origin)


async def _set_password(session: AsyncSession, account: UserAccount, new_hash: str) -> None:
    # Not through the object: the account's version counts changes of what is shown of it.
    await session.execute(
        sa.update(UserAccount).where(UserAccount.id == account.id).values(password_hash=new_hash),
        execution_options={"synchronize_session": False},
    )
