"""Purging accounts whose address nobody has verified."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.accounts import UserAccount
from services.users.models.credit import CreditAccount
from services.users.security_record.commands import SYSTEM, append
from shared.events.users import UserPurged
from shared.messaging.outbox.outbox import record
from shared.statements import count_deleted


async def purge_unverified(session: AsyncSession, *, before: datetime, limit: int) -> int:
    """Delete at most `limit` unverified accounts from before a time that hold no credit; return how many.

    Skips accounts that are locked: their address is being verified, or their credit reserved. Repeat it, in a
    transaction each, until it returns 0.
    """
    old = (
        _unverified()
        .where(UserAccount.created_at < before)
        .order_by(UserAccount.created_at, UserAccount.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return await _purge(session, (await session.scalars(old)).all())


async def purge_if_unverified(session: AsyncSession, *, user_id: UUID) -> bool:
    """Delete one locked account if it is unverified and holds no credit; return whether it was deleted."""
    found = _unverified().where(UserAccount.id == user_id).with_for_update()
    return await _purge(session, (await session.scalars(found)).all()) == 1


def _unverified() -> sa.Select[UUID]:
    return (
        sa.select(UserAccount.id)
        .join(CreditAccount, CreditAccount.user_id == UserAccount.id)
        .where(
            UserAccount.email_verified_at.is_(None),
            UserAccount.status.in_(("active", "suspended")),  # an erasure is completed instead, and leaves a receipt
            CreditAccount.reserved_cents == 0,
            CreditAccount.used_cents == 0,
        )
    )


async def _purge(session: AsyncSession, user_ids: Sequence[UUID]) -> int:
    for user_id in user_ids:
        record(session, UserPurged(user_id=user_id))
        await append(session, "account_purged", user_id=user_id, actor=SYSTEM)
    return await count_deleted(session, sa.delete(UserAccount).where(UserAccount.id.in_(user_ids)))
