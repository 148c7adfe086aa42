"""Topics to commands: whose address we keep, and what is worth telling."""

from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications.commands import notify, remember_recipient
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

LINES_SHOWN = 20

users = Subscription("users", partitions_at_once=3)
orders = Subscription("orders", partitions_at_once=3)
SUBSCRIPTIONS = (users, orders)


@users.on(UserCreated)
async def welcome_recipient(session: AsyncSession, event: UserCreated, context: EventContext) -> None:
    await _remember(session, event)
    await notify(
        session, user_id=event.user_id, event_id=context.event_id, event_type=event.type, category="account", data={}
    )


@users.on(UserUpdated)
async def update_recipient(session: AsyncSession, event: UserUpdated, _context: EventContext) -> None:
    await _remember(session, event)


@orders.on(OrderConfirmed)
async def notify_of_confirmation(session: AsyncSession, event: OrderConfirmed, context: EventContext) -> None:
    data = _data_of(event, exclude=frozenset({"lines"}))
    data["lines"] = [line.model_dump(mode="json") for line in event.lines[:LINES_SHOWN]]
    data["more_lines"] = max(0, len(event.lines) - LINES_SHOWN)
    await _notify_of_order(session, event, context, data=data)


async def notify_of_order(session: AsyncSession, event: OrderEvent, context: EventContext) -> None:
    await _notify_of_order(session, event, context, data=_data_of(event))


for told_as_it_is in (OrderRejected, OrderCancelled, OrderShipped, OrderDelivered, OrderRefunded):
    orders.on(told_as_it_is)(notify_of_order)


async def _remember(session: AsyncSession, event: UserCreated | UserUpdated) -> None:
    await remember_recipient(
        session,
        user_id=event.user_id,
        email=event.email,
        name=event.name,
        locale=event.locale,
        time_zone=event.time_zone,
    )


async def _notify_of_order(
    session: AsyncSession, event: OrderEvent, context: EventContext, *, data: dict[str, JsonValue]
) -> None:
    await notify(
        session, user_id=event.user_id, event_id=context.event_id, event_type=event.type, category="orders", data=data
    )


def _data_of(event: Event, *, exclude: frozenset[str] = frozenset()) -> dict[str, JsonValue]:
    """What the event says, but for whose it is: that stands in the notification."""
    return event.model_dump(mode="json", exclude={"user_id", *exclude})
