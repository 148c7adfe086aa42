"""Overdue orders: pending past their deadline, to be cancelled; and those of them that could not be cancelled."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from services.orders.models import Order, OrderStatus, OverdueOrder
from shared.statements import count_deleted

INITIAL_RETRY_DELAY = timedelta(minutes=1)
"""Delay before an order that could not be cancelled is tried again; doubles each time."""
MAX_RETRY_DELAY = timedelta(hours=1)

_POSTPONE = sa.text("""
    INSERT INTO overdue_order (order_id, failures, error, next_try_at)
    VALUES (:order_id, 1, :error, clock_timestamp() + CAST(:initial_delay AS interval))
    ON CONFLICT (order_id) DO UPDATE SET
        failures = overdue_order.failures + 1,
        error = excluded.error,
        next_try_at = clock_timestamp() + least(
            CAST(:initial_delay AS interval) * 2 ^ least(overdue_order.failures, 10), CAST(:max_delay AS interval)
        )
""")


async def lock_overdue_orders(
    session: AsyncSession, *, limit: int, only: Collection[UUID] | None = None
) -> list[Order]:
    """Lock at most `limit` overdue orders, or those with these ids, and return them with their items.

    Skips orders that another transaction has locked, and those that could not be cancelled and wait for their retry.
    """
    waits = sa.exists().where(OverdueOrder.order_id == Order.id, OverdueOrder.next_try_at > _database_time())
    query = (
        sa.select(Order)
        .where(Order.status == OrderStatus.PENDING, Order.deadline < _database_time(), ~waits)
        .order_by(Order.deadline)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .options(selectinload(Order.items))
    )
    return list(await session.scalars(query if only is None else query.where(Order.id.in_(only))))


async def postpone(session: AsyncSession, order_id: UUID, *, error: str) -> None:
    """Record that an order could not be cancelled, and when it is tried again."""
    delays = {"initial_delay": INITIAL_RETRY_DELAY, "max_delay": MAX_RETRY_DELAY}
    await session.execute(_POSTPONE, {"order_id": order_id, "error": error, **delays})


async def purge_settled(session: AsyncSession) -> int:
    """Delete the records of orders that are no longer pending; return their number."""
    settled = sa.select(Order.id).where(Order.id == OverdueOrder.order_id, Order.status != OrderStatus.PENDING)
    return await count_deleted(session, sa.delete(OverdueOrder).where(settled.exists()))


def _database_time() -> sa.Function[Any]:
    """Return the time of the clock that decides on deadlines. Not `now()`, the time at which the transaction began."""
    return sa.func.clock_timestamp()
