"""Subscriptions of the orders service: users become customers, and credit replies decide on orders."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from services.orders import commands, customer_commands
from services.orders.credit_reply import CreditReply
from services.orders.customer_commands import CustomerData
from shared.events.users import CreditRefused, CreditReserved, UserCreated, UserPurged, UserUpdated
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext

# Transactions of two partitions can't deadlock: each locks products once, ordered by SKU, as it commits.
users = Subscription("users", batches_at_once=3)
SUBSCRIPTIONS = (users,)


@users.on_batch(UserCreated, UserUpdated)
async def replace_customers(
    session: AsyncSession, events: Sequence[tuple[UserCreated | UserUpdated, EventContext]]
) -> None:
    # A later event of the same user overwrites an earlier one.
    customers = {event.user_id: CustomerData(event.email, event.name, context.sequence) for event, context in events}
    await customer_commands.replace_customers(session, customers)


@users.on_batch(UserPurged)
async def delete_customers(session: AsyncSession, events: Sequence[tuple[UserPurged, EventContext]]) -> None:
    await customer_commands.delete_customers(session, [event.user_id for event, _ in events])


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
