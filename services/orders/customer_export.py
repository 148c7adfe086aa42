"""Exports of a user's data: what the orders service has of a user."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.orders.models import Customer, Order, OrderItem, TimelineEntry
from shared.data_exports import Collection, ExportPart, RowList
from shared.events.exported_data import ExportedCustomer, ExportedOrder, ExportedOrderItem, ExportedTimelineEntry
from shared.events.orders import CustomerExported
from shared.messaging.outbox.outbox import record


async def _customer(session: AsyncSession, user_id: UUID) -> ExportedCustomer | None:
    customer = await session.get(Customer, user_id)
    return ExportedCustomer.model_validate(customer) if customer else None


def _orders(user_id: UUID) -> sa.Select[Any]:
    return sa.select(Order).where(Order.user_id == user_id).order_by(Order.id)


def _items(user_id: UUID) -> sa.Select[Any]:
    items = sa.select(OrderItem).join(Order, Order.id == OrderItem.order_id)
    return items.where(Order.user_id == user_id).order_by(OrderItem.order_id, OrderItem.position)


def _timeline(user_id: UUID) -> sa.Select[Any]:
    entries = sa.select(TimelineEntry).join(Order, Order.id == TimelineEntry.order_id)
    return entries.where(Order.user_id == user_id).order_by(TimelineEntry.order_id, TimelineEntry.id)


# An order may have 1,000 items, so that its parts are lists of their own: none of their items is large.
COLLECTION = Collection(
    facts={"customer": _customer},
    lists={
        "orders": RowList(_orders, ExportedOrder.model_validate),
        "order_items": RowList(_items, ExportedOrderItem.model_validate),
        "order_timeline": RowList(_timeline, ExportedTimelineEntry.model_validate),
    },
)
"""The members of the type `OrdersExport`."""


def record_part(session: AsyncSession, part: ExportPart) -> None:
    """Record the event of a part."""
    record(session, CustomerExported(**part._asdict()))
