"""Commands that every change of an account's methods shares: lock the account, keep a way in, record the change."""

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.authentication.queries import Methods, methods_of
from services.users.authentication.recovery_codes import delete_recovery_codes, replace_recovery_codes
from services.users.models.accounts import UserAccount
from services.users.models.second_factors import Passkey, PasskeyUser, RecoveryCode, Totp
from services.users.models.security_record import SecurityEventKind
from services.users.models.sessions import AuthenticationMethod, UserSession
from services.users.security_record.commands import Origin, append
from shared.errors import Conflict, Unauthenticated
from shared.events.users import SecondFactorChange, SecondFactorChanged
from shared.messaging.outbox.outbox import record

_KINDS: dict[SecondFactorChange, SecurityEventKind] = {
    "totp_added": "second_factor_added",
    "totp_removed": "second_factor_removed",
    "passkey_added": "passkey_added",
    "passkey_removed": "passkey_removed",
    "recovery_codes_replaced": "recovery_codes_generated",
    "recovery_code_used": "recovery_code_used",
    "password_removed": "password_changed",
    "all_removed_by_admin": "second_factor_removed",
}

_REMOVING: frozenset[SecondFactorChange] = frozenset({"passkey_removed", "password_removed"})
"""The changes that can take the last way in. An authenticator app alone is none."""


class LastWayIn(Conflict):
    """You could lose access to your account without this.

    An account without a password needs two passkeys, or a passkey and a recovery code.
    """

    code = "last_way_in"


class SessionEnded(Unauthenticated):
    """The session of the access token has ended."""

    code = "session_ended"


async def lock_account(session: AsyncSession, user_id: UUID) -> UserAccount:
    """Lock an account, so that changes of its methods run one after the other. Raises: SessionEnded.

    Rows that refer to the account can still be inserted.
    """
    account = await session.scalar(
        sa.select(UserAccount)
        .where(UserAccount.id == user_id, UserAccount.status == "active")
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    if account is None:
        raise SessionEnded
    return account


async def first_recovery_codes(session: AsyncSession, *, user_id: UUID) -> list[str] | None:
    """Return new recovery codes for an account that has none; the first second factor comes with them."""
    if (await methods_of(session, user_id)).recovery_codes:
        return None
    return await replace_recovery_codes(session, user_id=user_id)


async def apply_change(
    session: AsyncSession,
    *,
    user_id: UUID,
    change: SecondFactorChange,
    origin: Origin,
    details: Mapping[str, JsonValue] | None = None,
) -> Methods:
    """Complete a change of a locked account's methods, and return those that it has now.

    Updates whether the account requires a second factor, and records the change. Raises: LastWayIn.
    """
    methods = await methods_of(session, user_id)
    if change in _REMOVING and not methods.password and not methods.can_do_without_password:
        raise LastWayIn
    if not methods.has_second_factor:
        await delete_recovery_codes(session, user_id=user_id)
    # Not through the mapped object: its version counts changes of the profile.
    await session.execute(
        sa.update(UserAccount)
        .where(UserAccount.id == user_id, UserAccount.second_factor != methods.has_second_factor)
        .values(second_factor=methods.has_second_factor)
        .execution_options(synchronize_session=False)
    )
    await record_change(session, user_id=user_id, change=change, origin=origin, details=details)
    return methods


async def record_change(
    session: AsyncSession,
    *,
    user_id: UUID,
    change: SecondFactorChange,
    origin: Origin | None,
    actor: UUID | str | None = None,
    details: Mapping[str, JsonValue] | None = None,
) -> None:
    """Append a change to the security record, and tell the user of it by an event. `actor`: by default the user."""
    await append(
        session,
        _KINDS[change],
        user_id=user_id,
        actor=actor or user_id,
        origin=origin,
        details={"change": change, **(details or {})},
    )
    record(session, SecondFactorChanged(user_id=user_id, change=change, occurred_at=datetime.now(UTC)))


async def remove_second_factors(session: AsyncSession, *, user_id: UUID) -> None:
    """Delete all second factors of a locked account, which somebody else may have added. Records nothing."""
    for table in (Totp, RecoveryCode, Passkey, PasskeyUser):
        await session.execute(sa.delete(table).where(table.user_id == user_id))
    await session.execute(
        sa.update(UserAccount)
        .where(UserAccount.id == user_id)
        .values(second_factor=False)
        .execution_options(synchronize_session=False)
    )


async def renew_authentication(
    session: AsyncSession, *, session_id: UUID, user_id: UUID, method: AuthenticationMethod
) -> None:
    """Note that the user of an open session has just authenticated by a method. Raises: SessionEnded."""
    renewed = await session.scalar(
        sa.update(UserSession)
        .where(
            UserSession.id == session_id,
            UserSession.user_id == user_id,
            UserSession.revoked_at.is_(None),
            UserSession.expires_at > sa.func.now(),
        )
        .values(
            authenticated_at=sa.func.now(),
            amr=sa.func.array_append(sa.func.array_remove(UserSession.amr, method), method),
        )
        .returning(UserSession.id)
    )
    if renewed is None:
        raise SessionEnded
