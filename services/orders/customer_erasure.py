"""Erasing a customer: open orders are cancelled, then what is personal is deleted. Orders stay, with the user's id."""

from collections.abc import Collection
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from services.orders import commands
from services.orders.customer_commands import delete_customers
from services.orders.models import OPEN_STATUSES, Order, TimelineEntry
from shared.database import Sessions
from shared.erased_users import begin_erasure, end_erasure, erase_copies, lock_erasure
from shared.events.orders import CustomerErased
from shared.jobs import enqueue
from shared.messaging.outbox.outbox import record
from shared.sealed_contacts import delete_contacts

logger = structlog.get_logger(__name__)

ERASE_JOB = "erase_customer"
BATCH_ORDERS = 100
"""Orders cancelled per transaction. More would hold their locks for longer."""


async def request_erasure(session: AsyncSession, *, user_id: UUID, request_id: UUID) -> None:
    """Enqueue the erasure of a customer. A repeated request is answered again."""
    await begin_erasure(session, user_id=user_id, request_id=request_id)
    await enqueue(session, ERASE_JOB, str(user_id).encode())


async def erase_customer(sessions: Sessions, user_id: UUID) -> None:
    """Cancel the open orders of a customer, erase what is personal, and answer the request. Repeatable."""
    while True:
        async with sessions.begin() as session:
            cancelled = await _cancel_open_orders(session, user_id)
            request_id = None if cancelled else await _erase(session, user_id)
        for order_id in cancelled:
            logger.info("order_cancelled", order_id=str(order_id), reason="erasure")
        if not cancelled:
            break
    if request_id is not None:
        logger.info("customer_erased", user_id=str(user_id), request_id=str(request_id))


async def delete_replicas(session: AsyncSession, user_ids: Collection[UUID]) -> None:
    """Delete what users' events have stored of these users. Their orders stay. Repeatable."""
    await delete_contacts(session, user_ids)
    await delete_customers(session, list(user_ids))


async def _cancel_open_orders(session: AsyncSession, user_id: UUID) -> list[UUID]:
    """Cancel the next open orders of a user, and return their ids."""
    open_orders = await session.scalars(
        sa.select(Order)
        .where(Order.user_id == user_id, Order.status.in_(OPEN_STATUSES))
        .order_by(Order.id)
        .limit(BATCH_ORDERS)
        .with_for_update()
        .options(selectinload(Order.items))
    )
    orders = open_orders.all()
    commands.cancel_locked(session, orders, reason="erasure")
    return [order.id for order in orders]


async def _erase(session: AsyncSession, user_id: UUID) -> UUID | None:
    """Erase what is personal, and answer the request. Return its id; None if there is no request."""
    erasure = await lock_erasure(session, user_id)
    if erasure is None:
        return None
    await delete_replicas(session, [user_id])
    await _delete_notes(session, user_id)
    await erase_copies(session, user_id)
    await end_erasure(session, user_id)
    record(session, CustomerErased(user_id=user_id, request_id=erasure.request_id))
    return erasure.request_id


async def _delete_notes(session: AsyncSession, user_id: UUID) -> None:
    """Remove what staff wrote about refunds of the user's orders: it may name the user. Other reasons are codes."""
    orders = sa.select(Order.id).where(Order.user_id == user_id)
    await session.execute(
        sa.update(TimelineEntry)
        .where(
            TimelineEntry.order_id.in_(orders),
            TimelineEntry.amount_cents.is_not(None),
            TimelineEntry.reason.is_not(None),
        )
        .values(reason=None),
        execution_options={"synchronize_session": False},
    )
