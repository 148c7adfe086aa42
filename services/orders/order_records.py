"""The entries of an order's journey that this service knows: the request, the changes of the order, its deadline."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from services.orders.models import Order, OrderItem, OrderStatus, OverdueOrder, TimelineEntry
from shared.operations.journey_entries import (
    AnyEntry,
    DeadlineDetails,
    DeadlineEntry,
    OrderDetails,
    OrderEntry,
    RequestDetails,
    RequestEntry,
)
from shared.operations.journeys import OwnRecords, Subject

SERVICE = "orders"


async def records_of_order(session: AsyncSession, subject: Subject) -> OwnRecords:
    """Return the entries of an order's own rows; none if there is no such order."""
    order = await session.get(Order, subject.order_id, options=[selectinload(Order.timeline)])
    if order is None:
        return OwnRecords()
    items = await session.scalar(sa.select(sa.func.count()).where(OrderItem.order_id == order.id)) or 0
    entries: list[AnyEntry] = [_request_entry(order, items), *map(_order_entry, order.timeline)]
    overdue = await session.get(OverdueOrder, order.id)
    was_cancelled = any(entry.reason == "deadline" for entry in order.timeline)
    if order.status is OrderStatus.PENDING or was_cancelled or overdue is not None:
        entries.append(_deadline_entry(order, overdue))
    return OwnRecords(entries)


def amount(cents: int, currency: str) -> str:
    """Return an amount for a sentence, such as 15.30 GBP."""
    return f"{cents // 100}.{cents % 100:02} {currency}"


def _request_entry(order: Order, items: int) -> RequestEntry:
    products = f"{items} product{'s' if items != 1 else ''}"
    return RequestEntry(
        kind="request",
        time=order.created_at,
        service=SERVICE,
        title=f"The customer placed the order {order.number}: {products}, {amount(order.total_cents, order.currency)}",
        trace_id=None,
        event_id=None,
        details=RequestDetails(
            user_id=order.user_id,
            total_cents=order.total_cents,
            currency=order.currency,
            items=items,
            units=order.units,
        ),
    )


def _order_entry(entry: TimelineEntry) -> OrderEntry:
    reason = f": {entry.reason}" if entry.reason else ""
    by = {"customer": " by the customer", "support": " by support", "system": ""}[entry.actor]
    is_refund = entry.amount_cents is not None
    title = f"A part was refunded{by}{reason}" if is_refund else f"The order became {entry.status}{by}{reason}"
    return OrderEntry(
        kind="order",
        time=entry.at,
        service=SERVICE,
        title=title,
        trace_id=None,
        event_id=None,
        details=OrderDetails(
            status=entry.status.value,
            actor=entry.actor,
            actor_id=entry.actor_id,
            reason=entry.reason,
            amount_cents=entry.amount_cents,
        ),
    )


def _deadline_entry(order: Order, overdue: OverdueOrder | None) -> DeadlineEntry:
    is_past = order.deadline < datetime.now(UTC)
    title = "The deadline passed" if is_past else "The order is cancelled if it is still pending then"
    if overdue is not None:
        title = f"The deadline passed, and the order could not be cancelled: {overdue.error}"
    return DeadlineEntry(
        kind="deadline",
        time=order.deadline,
        service=SERVICE,
        title=title,
        trace_id=None,
        event_id=None,
        details=DeadlineDetails(
            is_past=is_past,
            failures=overdue.failures if overdue else 0,
            error=overdue.error if overdue else None,
            next_try_at=overdue.next_try_at if overdue else None,
        ),
    )
