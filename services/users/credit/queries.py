"""Queries of credit."""

from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.queries import UserNotFound
from services.users.models.credit import Balances, CreditAccount, CreditEntry


class Ledger(NamedTuple):
    """The state of an account by its entries."""

    sums: Balances
    """The sums of all deltas."""
    newest: Balances | None
    """The balances after the newest entry; None without any entry."""


async def credit_of(session: AsyncSession, user_id: UUID) -> CreditAccount:
    """Return a user's credit account. Raises: UserNotFound."""
    account = await session.get(CreditAccount, user_id)
    if account is None:
        raise UserNotFound
    return account


async def ledger_of(session: AsyncSession, user_id: UUID) -> Ledger:
    """Return what the entries of a locked account say. It reads all of them, and flushes the session first."""
    deltas = (CreditEntry.reserved_delta_cents, CreditEntry.used_delta_cents, CreditEntry.limit_delta_cents)
    sums = await session.execute(
        sa.select(*(sa.func.coalesce(sa.func.sum(delta), 0) for delta in deltas)).where(CreditEntry.user_id == user_id)
    )
    newest = await session.scalar(entries_newest_first(user_id, order_id=None).limit(1))
    return Ledger(
        sums=Balances(*map(int, sums.one())),
        newest=Balances(newest.reserved_cents, newest.used_cents, newest.limit_cents) if newest else None,
    )


def entries_newest_first(user_id: UUID, *, order_id: UUID | None) -> sa.Select[CreditEntry]:
    """Select the entries of an account, or of one of its orders, newest first."""
    query = sa.select(CreditEntry).where(CreditEntry.user_id == user_id).order_by(CreditEntry.id.desc())
    return query if order_id is None else query.where(CreditEntry.order_id == order_id)
