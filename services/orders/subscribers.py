"""Subscriptions of the orders service: users become customers, and credit replies decide on orders."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from services.orders import commands, customer_erasure
from services.orders.credit_reply import CreditReply
from shared.data_exports import enqueue_export
from shared.events.users import (
    CreditRefused,
    CreditReserved,
    ExportRequested,
    UserCreated,
    UserErasureRequested,
    UserPurged,
    UserUpdated,
)
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext
from shared.sealed_contacts import store_contacts

# Transactions of two partitions can't deadlock: each locks products once, ordered by SKU, as it commits.
users = Subscription("users", batches_at_once=3)
SUBSCRIPTIONS = (users,)


@users.on_batch(UserCreated, UserUpdated)
async def store_customers(
    session: AsyncSession, events: Sequence[tuple[UserCreated | UserUpdated, EventContext]]
) -> None:
    # A job opens them: a handler calls no other service.
    await store_contacts(session, events)


@users.on_batch(UserPurged)
async def delete_customers(session: AsyncSession, events: Sequence[tuple[UserPurged, EventContext]]) -> None:
    await customer_erasure.delete_replicas(session, [event.user_id for event, _ in events])


@users.on(UserErasureRequested)
async def erase_customer(session: AsyncSession, event: UserErasureRequested, _context: EventContext) -> None:
    # A job does it: the orders may be many.
    await customer_erasure.request_erasure(session, user_id=event.user_id, request_id=event.request_id)


@users.on(ExportRequested)
async def export_customer(session: AsyncSession, event: ExportRequested, _context: EventContext) -> None:
    await enqueue_export(session, event)


@users.on_batch(CreditReserved, CreditRefused)
async def decide_orders(
    session: AsyncSession, events: Sequence[tuple[CreditReserved | CreditRefused, EventContext]]
) -> None:
    replies = [
        CreditReply(
            event.order_id,
            event.user_id,
            event.amount_cents,
            event.currency,
            event.reason if isinstance(event, CreditRefused) else None,
            traceparent=context.traceparent,
            tracestate=context.tracestate,
        )
        for event, context in events
    ]
    await commands.decide_orders(session, replies)
