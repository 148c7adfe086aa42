"""Subscriptions of the notifications service: users become recipients, and decisions about orders are notified."""

from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications.commands import notify, replace_recipient
from shared.events.contract import Event
from shared.events.orders import (
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderEvent,
    OrderRefunded,
    OrderRejected,
    OrderShipped,
)
from shared.events.users import UserCreated, UserUpdated
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext

MAX_LINES_SHOWN = 20
"""Lines of an order that a notification stores and shows; the others are only counted."""

users = Subscription("users", batches_at_once=3)
orders = Subscription("orders", batches_at_once=3)
SUBSCRIPTIONS = (users, orders)


@users.on(UserCreated)
async def welcome_recipient(session: AsyncSession, event: UserCreated, context: EventContext) -> None:
    await _replace_recipient(session, event)
    await notify(
        session, user_id=event.user_id, event_id=context.event_id, event_type=event.type, category="account", data={}
    )


@users.on(UserUpdated)
async def update_recipient(session: AsyncSession, event: UserUpdated, _context: EventContext) -> None:
    await _replace_recipient(session, event)


@orders.on(OrderConfirmed)
async def notify_of_confirmation(session: AsyncSession, event: OrderConfirmed, context: EventContext) -> None:
    data = _data_of(event, exclude=frozenset({"lines"}))
    data["lines"] = [line.model_dump(mode="json") for line in event.lines[:MAX_LINES_SHOWN]]
    data["more_lines"] = max(0, len(event.lines) - MAX_LINES_SHOWN)
    await _notify_with(session, event, context, data=data)


async def notify_of_order(session: AsyncSession, event: OrderEvent, context: EventContext) -> None:
    await _notify_with(session, event, context, data=_data_of(event))


# Registered in a loop: these events need no data but their own.
for event_class in (OrderRejected, OrderCancelled, OrderShipped, OrderDelivered, OrderRefunded):
    orders.on(event_class)(notify_of_order)


async def _replace_recipient(session: AsyncSession, event: UserCreated | UserUpdated) -> None:
    await replace_recipient(
        session,
        user_id=event.user_id,
        email=event.email,
        name=event.name,
        locale=event.locale,
        time_zone=event.time_zone,
    )


async def _notify_with(
    session: AsyncSession, event: OrderEvent, context: EventContext, *, data: dict[str, JsonValue]
) -> None:
    await notify(
        session, user_id=event.user_id, event_id=context.event_id, event_type=event.type, category="orders", data=data
    )


def _data_of(event: Event, *, exclude: frozenset[str] = frozenset()) -> dict[str, JsonValue]:
    """Return the event's data without the user's id, which the notification has itself."""
    return event.model_dump(mode="json", exclude={"user_id", *exclude})
