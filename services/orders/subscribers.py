"""Subscriptions of the orders service: users become customers, and credit replies decide on orders."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from services.orders import commands, customer_commands
from shared.events.users import CreditRefused, CreditReserved, UserCreated, UserUpdated
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
    customers = {event.user_id: (event.email, event.name) for event, _ in events}
    await customer_commands.replace_customers(session, customers)


@users.on(CreditReserved)
async def confirm_order(session: AsyncSession, event: CreditReserved, _context: EventContext) -> None:
    await commands.confirm_order(session, order_id=event.order_id)


@users.on(CreditRefused)
async def reject_order(session: AsyncSession, event: CreditRefused, _context: EventContext) -> None:
    await commands.reject_order(session, order_id=event.order_id, reason=event.reason)
