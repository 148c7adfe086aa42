"""Commands of second factors: the authenticator app, recovery codes, removing the password."""

import time
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.authentication import recovery_codes
from services.users.authentication.commands import (
    apply_change,
    first_recovery_codes,
    lock_account,
    record_change,
    renew_authentication,
)
from services.users.authentication.queries import methods_of
from services.users.encryption import Encryption
from services.users.models.accounts import UserAccount
from services.users.models.second_factors import Totp
from services.users.second_factors.codes import Secret, matching_step, new_secret
from services.users.security_record.commands import Origin
from shared.errors import Conflict, NotFound, Problem


class TotpExists(Conflict):
    """There is an authenticator app already. Remove it first."""

    code = "totp_exists"


class TotpNotFound(NotFound):
    """There is no authenticator app, or none that waits for its confirmation."""

    code = "totp_not_found"


class CodeWrong(Problem):
    """The code is wrong, or it was used before."""

    status = 422
    code = "code_wrong"


class SecondFactorMissing(Conflict):
    """The account has no second factor, which recovery codes could replace."""

    code = "second_factor_missing"


class PasswordMissing(NotFound):
    """The account has no password."""

    code = "password_missing"


async def start_totp(session: AsyncSession, *, user_id: UUID, encryption: Encryption) -> Secret:
    """Store a new secret, and return it. It replaces one that was not confirmed. Raises: SessionEnded, TotpExists."""
    account = await lock_account(session, user_id)
    secret = new_secret(account_name=account.email, encryption=encryption)
    started = insert(Totp).values(user_id=user_id, encrypted_secret=secret.encrypted)
    stored = await session.scalar(
        started.on_conflict_do_update(
            index_elements=[Totp.user_id],
            set_={"encrypted_secret": secret.encrypted, "created_at": started.excluded.created_at},
            where=Totp.confirmed_at.is_(None),
        ).returning(Totp.user_id)
    )
    if stored is None:
        raise TotpExists
    return secret


async def confirm_totp(
    session: AsyncSession, *, user_id: UUID, session_id: UUID, code: str, encryption: Encryption, origin: Origin
) -> list[str] | None:
    """Confirm the authenticator app by a code of it, and return the recovery codes of an account that had none.

    The session counts as authenticated by the code. Raises: SessionEnded, TotpNotFound, CodeWrong.
    """
    await lock_account(session, user_id)
    totp = await session.get(Totp, user_id, with_for_update=True, populate_existing=True)
    if totp is None or totp.confirmed_at is not None:
        raise TotpNotFound
    secret = encryption.decrypt(totp.encrypted_secret).decode()
    step = matching_step(secret, code, at=time.time(), after=None)
    if step is None:
        raise CodeWrong
    await session.execute(
        sa.update(Totp).where(Totp.user_id == user_id).values(confirmed_at=sa.func.now(), last_used_step=step)
    )
    codes = await first_recovery_codes(session, user_id=user_id)
    await apply_change(session, user_id=user_id, change="totp_added", origin=origin)
    await renew_authentication(session, session_id=session_id, user_id=user_id, method="otp")
    return codes


async def remove_totp(session: AsyncSession, *, user_id: UUID, origin: Origin) -> None:
    """Remove the authenticator app, confirmed or not. Raises: SessionEnded, TotpNotFound."""
    await lock_account(session, user_id)
    removed = await session.execute(
        sa.delete(Totp).where(Totp.user_id == user_id).returning(Totp.confirmed_at.is_not(None))
    )
    was_confirmed = removed.scalar_one_or_none()
    if was_confirmed is None:
        raise TotpNotFound
    if was_confirmed:
        await apply_change(session, user_id=user_id, change="totp_removed", origin=origin)


async def replace_recovery_codes(session: AsyncSession, *, user_id: UUID, origin: Origin) -> list[str]:
    """Replace the recovery codes, and return the new ones. Raises: SessionEnded, SecondFactorMissing."""
    await lock_account(session, user_id)
    if not (await methods_of(session, user_id)).has_second_factor:
        raise SecondFactorMissing
    codes = await recovery_codes.replace_recovery_codes(session, user_id=user_id)
    await record_change(session, user_id=user_id, change="recovery_codes_replaced", origin=origin)
    return codes


async def remove_password(session: AsyncSession, *, user_id: UUID, origin: Origin) -> None:
    """Remove the password, so that only passkeys sign in. Raises: SessionEnded, PasswordMissing, LastWayIn."""
    account = await lock_account(session, user_id)
    if account.password_hash is None:
        raise PasswordMissing
    await session.execute(
        sa.update(UserAccount)
        .where(UserAccount.id == user_id)
        .values(password_hash=None)
        .execution_options(synchronize_session=False)
    )
    await apply_change(session, user_id=user_id, change="password_removed", origin=origin)
