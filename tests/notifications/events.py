"""Builders of other services' events, and a function that applies them."""

from uuid import UUID

from pydantic import JsonValue

from services.notifications.commands import Notice
from services.notifications.recipients import replace_recipients
from services.notifications.subscribers import orders, users
from shared.database import Sessions
from shared.events.contract import Event
from shared.events.orders import OrderConfirmed, OrderLine
from shared.events.users import UserCreated
from shared.ids import new_id
from shared.messaging.consumer.batch import apply_batch
from shared.sealed_contacts import open_contacts
from tests.harness.builders import received
from tests.harness.personal_keys import StoredKeys, profile_event

SUBSCRIPTIONS = {subscription.topic: subscription for subscription in (users, orders)}


def user_created(
    user_id: UUID,
    *,
    email: str = "ann@example.org",
    name: str = "Ann",
    locale: str = "en",
    email_verified: bool = True,
) -> UserCreated:
    return profile_event(UserCreated, user_id, email=email, name=name, locale=locale, email_verified=email_verified)


def order_confirmed(user_id: UUID, *, number: str = "O-1042", lines: int = 2) -> OrderConfirmed:
    return OrderConfirmed(
        order_id=new_id(),
        number=number,
        user_id=user_id,
        total_cents=lines * 2 * 650,
        currency="GBP",
        lines=tuple(
            OrderLine(sku=f"T-{position}", name=f"Tea no {position}", quantity=2, unit_price_cents=650)
            for position in range(1, lines + 1)
        ),
    )


def notice_of(event: OrderConfirmed, *, trace: str | None = None) -> Notice:
    """Return the notice of an order's confirmation, caused by an event of this trace."""
    context = received(event, sequence=1).context
    assert context is not None
    traceparent = f"00-{trace}-b7ad6b7169203331-01" if trace else None
    data: dict[str, JsonValue] = {
        "order_id": str(event.order_id),
        "number": event.number,
        "total_cents": event.total_cents,
    }
    return Notice(event.user_id, "orders", data, context._replace(traceparent=traceparent))


async def apply(
    sessions: Sessions, *events: Event, event_id: UUID | None = None, sequence: int = 1, opened: bool = True
) -> None:
    """Apply events of one topic as a consumer does. Each key starts at `sequence`.

    `opened`: also open the contacts of users, as the job does that the consumer enqueues.
    """
    subscription = SUBSCRIPTIONS[events[0].topic]
    sequences: dict[str, int] = {}
    batch = []
    for event in events:
        sequences[event.key] = sequences.get(event.key, sequence - 1) + 1
        batch.append(received(event, sequence=sequences[event.key], event_id=event_id))
    async with sessions.begin() as session:
        await apply_batch(
            session, consumer=f"notifications.{subscription.topic}", subscription=subscription, events=batch
        )
    if opened and subscription is users:
        await open_all(sessions, *events)


async def open_all(sessions: Sessions, *events: Event, keys: StoredKeys | None = None) -> None:
    """Open the contacts that wait of these events' users."""
    personal_keys = (keys or StoredKeys()).personal_keys()
    user_ids = {UUID(event.key) for event in events}
    await open_contacts(sessions, user_ids, keys=personal_keys, replace=replace_recipients)
