"""Reads the ledger of a credit account, and checks what must hold of every ledger."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.credit import Balances, CreditAccount, CreditEntry


def balances_of(entry: CreditEntry) -> Balances:
    """Return the balances after an entry."""
    return Balances(entry.reserved_cents, entry.used_cents, entry.limit_cents)


def deltas_of(entry: CreditEntry) -> Balances:
    """Return the changes of an entry."""
    return Balances(entry.reserved_delta_cents, entry.used_delta_cents, entry.limit_delta_cents)


async def ledger_of(session: AsyncSession, user_id: UUID) -> list[CreditEntry]:
    """Return the entries of an account, oldest first, after checking that they lead to its balances step by step."""
    account = await session.get_one(CreditAccount, user_id)
    entries = list(
        await session.scalars(sa.select(CreditEntry).where(CreditEntry.user_id == user_id).order_by(CreditEntry.id))
    )
    assert entries[0].kind == "opened"
    balances = Balances(0, 0, 0)
    for entry in entries:
        balances = Balances(*(before + delta for before, delta in zip(balances, deltas_of(entry), strict=True)))
        assert balances_of(entry) == balances, entry.id
        assert balances.reserved_cents + balances.used_cents <= balances.limit_cents, entry.id
    assert account.balances == balances
    return entries
