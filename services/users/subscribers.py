"""Subscriptions of the users service: events of orders change credit."""

from sqlalchemy.ext.asyncio import AsyncSession

from services.users import credit_commands
from shared.events.orders import OrderCancelled, OrderCreated, OrderRefunded, OrderRejected, OrderShipped
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext

orders = Subscription("orders")
SUBSCRIPTIONS = (orders,)


@orders.on(OrderCreated)
async def reserve_credit(session: AsyncSession, event: OrderCreated, _context: EventContext) -> None:
    await credit_commands.reserve_credit(
        session,
        order_id=event.order_id,
        user_id=event.user_id,
        amount_cents=event.total_cents,
        currency=event.currency,
    )


@orders.on(OrderCancelled)
async def release_credit(session: AsyncSession, event: OrderCancelled, _context: EventContext) -> None:
    await credit_commands.release_credit(
        session, order_id=event.order_id, user_id=event.user_id, currency=event.currency
    )


@orders.on(OrderRejected)
async def release_rejected_credit(session: AsyncSession, event: OrderRejected, _context: EventContext) -> None:
    # An order is rejected because its credit was refused: then nothing is reserved, and nothing changes.
    await credit_commands.release_credit(
        session, order_id=event.order_id, user_id=event.user_id, currency=event.currency
    )


@orders.on(OrderShipped)
async def use_credit(session: AsyncSession, event: OrderShipped, _context: EventContext) -> None:
    await credit_commands.use_credit(session, order_id=event.order_id, user_id=event.user_id)


@orders.on(OrderRefunded)
async def refund_credit(session: AsyncSession, event: OrderRefunded, _context: EventContext) -> None:
    await credit_commands.refund_credit(
        session, order_id=event.order_id, user_id=event.user_id, refunded_cents=event.refunded_cents
    )
