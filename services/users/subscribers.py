"""Subscriptions of the users service: events of orders change credit; other services export and erase users' data."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from services.users.credit import commands as credit_commands
from services.users.credit.batch import Credit, lock_credit, write_credit
from services.users.credit.snapshots import OrderState, apply_snapshot
from services.users.data_export.commands import store_parts
from services.users.erasure.commands import acknowledge
from services.users.models.credit import CreditEntryKind
from shared.events.notifications import RecipientErased, RecipientExported
from shared.events.orders import (
    CustomerErased,
    CustomerExported,
    OrderCancelled,
    OrderCreated,
    OrderRefunded,
    OrderRejected,
    OrderShipped,
    OrderSnapshot,
)
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext
from shared.telemetry import continued_trace

CreditEvent = OrderCreated | OrderCancelled | OrderRejected | OrderShipped | OrderRefunded | OrderSnapshot
"""An event of an order that changes credit."""

_ENTRY_KINDS: dict[type[CreditEvent], CreditEntryKind] = {
    OrderCreated: "reserved",
    OrderCancelled: "released",
    OrderRejected: "released",
    OrderShipped: "used",
    OrderRefunded: "refunded",
    OrderSnapshot: "corrected",
}
"""The kind of the ledger's entry by the event that changed the account."""

orders = Subscription("orders")
# Nearly all events of this topic are about mails, which are ignored here: fetch many at once.
notifications = Subscription("notifications", fetch_min_bytes=16 * 1024)
SUBSCRIPTIONS = (orders, notifications)


@orders.on_batch(OrderCreated, OrderCancelled, OrderRejected, OrderShipped, OrderRefunded, OrderSnapshot)
async def change_credit(session: AsyncSession, events: Sequence[tuple[CreditEvent, EventContext]]) -> None:
    """Apply events of orders in their order, each in its trace, with three statements for any number of events.

    One handler takes all types, so that a batch locks its accounts once, ordered by user id: every partition holds
    events of all users, and two processes that lock them as the events come would deadlock. After a failure a batch
    comes in parts: a deadlock is possible then, and retried.
    """
    credit = await lock_credit(
        session, user_ids={event.user_id for event, _ in events}, order_ids={event.order_id for event, _ in events}
    )
    for event, context in events:
        with (
            continued_trace(context.traceparent, tracestate=context.tracestate),
            credit.entering(_ENTRY_KINDS[type(event)], order_id=event.order_id, user_id=event.user_id),
        ):
            _apply(session, credit, event)
    await write_credit(session, credit)


@orders.on_batch(CustomerExported)
async def store_customer_data(session: AsyncSession, events: Sequence[tuple[CustomerExported, EventContext]]) -> None:
    await store_parts(session, "orders", [event for event, _ in events])


@notifications.on_batch(RecipientExported)
async def store_recipient_data(session: AsyncSession, events: Sequence[tuple[RecipientExported, EventContext]]) -> None:
    await store_parts(session, "notifications", [event for event, _ in events])


@orders.on(CustomerErased)
async def acknowledge_customer(session: AsyncSession, event: CustomerErased, _context: EventContext) -> None:
    await acknowledge(session, erasure_id=event.request_id, user_id=event.user_id, service="orders")


@notifications.on(RecipientErased)
async def acknowledge_recipient(session: AsyncSession, event: RecipientErased, _context: EventContext) -> None:
    await acknowledge(session, erasure_id=event.request_id, user_id=event.user_id, service="notifications")


def _apply(session: AsyncSession, credit: Credit, event: CreditEvent) -> None:
    order_id, user_id = event.order_id, event.user_id
    match event:
        case OrderCreated(total_cents=amount_cents, currency=currency):
            credit_commands.reserve_credit(
                session, credit, order_id=order_id, user_id=user_id, amount_cents=amount_cents, currency=currency
            )
        case OrderCancelled(currency=currency) | OrderRejected(currency=currency):
            # An order is rejected because its credit was refused: then nothing is reserved, and nothing changes.
            credit_commands.release_credit(session, credit, order_id=order_id, user_id=user_id, currency=currency)
        case OrderShipped():
            credit_commands.use_credit(credit, order_id=order_id, user_id=user_id)
        case OrderRefunded(refunded_cents=refunded_cents):
            credit_commands.refund_credit(credit, order_id=order_id, user_id=user_id, refunded_cents=refunded_cents)
        case OrderSnapshot():
            state = OrderState(order_id, user_id, event.status, event.total_cents, event.refunded_cents, event.currency)
            apply_snapshot(session, credit, state)
