"""What happens to users, and what their credit answers: topic `users` -> command."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from services.orders import commands
from shared.events.users import CreditRefused, CreditReserved, UserCreated, UserUpdated
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext

# Stock is settled once per slice, as it commits and in the order of the skus: slices can't deadlock on it.
users = Subscription("users", partitions_at_once=3)
SUBSCRIPTIONS = (users,)


@users.on_batch(UserCreated, UserUpdated)
async def remember_customers(
    session: AsyncSession, events: Sequence[tuple[UserCreated | UserUpdated, EventContext]]
) -> None:
    # Of a user that is there more than once the last word counts.
    await commands.remember_customers(session, {event.user_id: (event.email, event.name) for event, _ in events})


@users.on(CreditReserved)
async def confirm_order(session: AsyncSession, event: CreditReserved, _context: EventContext) -> None:
    await commands.confirm_order(session, order_id=event.order_id)


@users.on(CreditRefused)
async def reject_order(session: AsyncSession, event: CreditRefused, _context: EventContext) -> None:
    await commands.reject_order(session, order_id=event.order_id, reason=event.reason)
