"""Subscriptions of the notifications service: users become recipients, and decisions about orders are notified."""

from collections.abc import Sequence

from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications.commands import Notice, RecipientData, notify_all, replace_recipients
from shared.events.orders import (
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderEvent,
    OrderRefunded,
    OrderRejected,
    OrderShipped,
)
from shared.events.users import SecondFactorChanged, UserCreated, UserUpdated
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext

MAX_LINES_SHOWN = 20
"""Lines of an order that a notification stores and shows; the others are only counted."""

# Most events of this topic are about credit, which is ignored here, and no order waits for the others: fetch them
# together.
users = Subscription("users", batches_at_once=3, fetch_min_bytes=16 * 1024)
orders = Subscription("orders", batches_at_once=3)
SUBSCRIPTIONS = (users, orders)


@users.on_batch(UserCreated, UserUpdated)
async def replace_and_welcome(
    session: AsyncSession, events: Sequence[tuple[UserCreated | UserUpdated, EventContext]]
) -> None:
    # A later event of the same user overwrites an earlier one.
    recipients = {
        event.user_id: RecipientData(event.email, event.name, event.locale, event.time_zone, context.sequence)
        for event, context in events
    }
    await replace_recipients(session, recipients)
    created = [(event, context) for event, context in events if isinstance(event, UserCreated)]
    if created:
        await notify_all(session, [Notice(event.user_id, "account", {}, context) for event, context in created])


@users.on_batch(SecondFactorChanged)
async def tell_of_second_factors(
    session: AsyncSession, events: Sequence[tuple[SecondFactorChanged, EventContext]]
) -> None:
    notices = [
        Notice(event.user_id, "account", event.model_dump(mode="json", exclude={"user_id"}), context)
        for event, context in events
    ]
    await notify_all(session, notices)


@orders.on_batch(OrderConfirmed, OrderRejected, OrderCancelled, OrderShipped, OrderDelivered, OrderRefunded)
async def notify_of_orders(session: AsyncSession, events: Sequence[tuple[OrderEvent, EventContext]]) -> None:
    await notify_all(session, [Notice(event.user_id, "orders", _data_of(event), context) for event, context in events])


def _data_of(event: OrderEvent) -> dict[str, JsonValue]:
    """Return the event's data without the user's id, which the notification has itself. Long orders are cut."""
    data: dict[str, JsonValue] = event.model_dump(mode="json", exclude={"user_id", "lines"})
    if isinstance(event, OrderConfirmed):
        data["lines"] = [line.model_dump(mode="json") for line in event.lines[:MAX_LINES_SHOWN]]
        data["more_lines"] = max(0, len(event.lines) - MAX_LINES_SHOWN)
    return data
