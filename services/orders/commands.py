"""Commands of orders. They lock the orders that they change, write rows, record events, and do not commit."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from services.orders.credit_reply import CreditReply
from services.orders.models import ActorKind, Order, OrderItem, OrderStatus, TimelineEntry
from services.orders.order_metrics import observe_decision_at_commit
from services.orders.order_number import order_number
from services.orders.order_rows import Decision, PendingLimits, insert_order, lock_orders, update_orders
from services.orders.queries import OrderNotFound
from services.orders.stock import lock_products, release_stock_at_commit, take_stock_at_commit
from shared.amounts import MAX_AMOUNT_CENTS
from shared.errors import Conflict, Problem
from shared.events.orders import (
    CancelReason,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    OrderDelivered,
    OrderLine,
    OrderRefunded,
    OrderRejected,
    OrderShipped,
    OrderSnapshot,
)
from shared.http.auth import Permit
from shared.messaging.outbox.outbox import record
from shared.preconditions import ANY_VERSION, Precondition
from shared.telemetry import continued_trace

logger = structlog.get_logger(__name__)


class CurrenciesMixed(Conflict):
    """The products of an order must have the same currency."""

    code = "currencies_mixed"


class TotalTooLarge(Problem):
    """The total is too large."""

    status = 422
    code = "total_too_large"


async def place_order(
    session: AsyncSession,
    *,
    order_id: UUID,
    user_id: UUID,
    quantities: Mapping[str, int],
    pending_timeout: timedelta,
    limits: PendingLimits,
) -> Order:
    """Create a pending order of these quantities by SKU, reserve its stock, and record `order.created`.

    The order's items and timeline are loaded.

    Raises: ProductUnavailable, OutOfStock, CurrenciesMixed, TotalTooLarge, TooManyPendingOrders, TooManyPendingUnits.
    """
    products, sequence, now = await lock_products(session, quantities, user_id=user_id)
    currencies = sorted({product.currency for product in products.values()})
    if len(currencies) > 1:
        raise CurrenciesMixed(extra={"currencies": currencies})
    total_cents = sum(products[sku].price_cents * quantity for sku, quantity in quantities.items())
    if total_cents > MAX_AMOUNT_CENTS:
        raise TotalTooLarge
    order = Order(
        id=order_id,
        number=order_number(sequence),
        user_id=user_id,
        status=OrderStatus.PENDING,
        currency=currencies[0],
        total_cents=total_cents,
        refunded_cents=0,
        units=sum(quantities.values()),
        deadline=now + pending_timeout,
        version=1,
        created_at=now,
        updated_at=now,
        items=[
            OrderItem(
                sku=sku,
                position=position,
                name=products[sku].name,
                unit_price_cents=products[sku].price_cents,
                quantity=quantity,
            )
            for position, (sku, quantity) in enumerate(quantities.items(), start=1)
        ],
        timeline=[TimelineEntry(at=now, status=OrderStatus.PENDING, actor="customer", actor_id=user_id)],
    )
    await insert_order(session, order, limits=limits)
    record(session, OrderCreated(**_fields(order), deadline=order.deadline))
    return order


async def decide_orders(session: AsyncSession, replies: Sequence[CreditReply]) -> None:
    """Confirm or reject pending orders after the replies about their credit. Late or repeated ones change nothing.

    Raises: CreditReplyMismatched if one of them is about another user or amount: then the consumer applies the others
    without it.
    """
    orders = await lock_orders(session, {reply.order_id for reply in replies})
    decisions: list[Decision] = []
    for reply in replies:
        order = orders.get(reply.order_id)
        with continued_trace(reply.traceparent, tracestate=reply.tracestate):
            if order is None or order.status is not OrderStatus.PENDING:
                # It was decided or cancelled before, and order.cancelled releases the credit; or it is unknown here.
                status = order.status if order else None
                logger.info("credit_reply_ignored", order_id=str(reply.order_id), status=status)
                continue
            reply.require_match(order)
            if reply.refused_because is None:
                decisions.append(_confirm(session, order))
            else:
                decisions.append(_reject(session, order, reason=reply.refused_because))
    await update_orders(session, decisions)


async def cancel_order(
    session: AsyncSession, *, order_id: UUID, permit: Permit, precondition: Precondition = ANY_VERSION
) -> Order:
    """Cancel an order, and release its stock. Raises: as `_lock_for`, and TransitionNotAllowed."""
    order = await _lock_for(session, order_id, permit=permit, precondition=precondition)
    reason: CancelReason = "customer" if permit.owns(order.user_id) else "support"
    _cancel(session, order, reason=reason, permit=permit)
    return order


def cancel_locked(session: AsyncSession, orders: Sequence[Order], *, reason: CancelReason) -> None:
    """Cancel orders that are locked and open. Their items must be loaded."""
    for order in orders:
        _cancel(session, order, reason=reason)


async def cancel_as_operator(session: AsyncSession, order_id: UUID) -> None:
    """Cancel an order for no account, and release its stock. Raises: OrderNotFound, TransitionNotAllowed."""
    order = await _lock_order(session, order_id)
    if order is None:
        raise OrderNotFound
    _cancel(session, order, reason="support")


async def ship_order(
    session: AsyncSession, *, order_id: UUID, permit: Permit, precondition: Precondition = ANY_VERSION
) -> Order:
    """Mark an order as shipped, and take its stock.

    Raises: OrderNotFound, PreconditionFailed, TransitionNotAllowed, or the denial of the permit.
    """
    order = await _lock_for(session, order_id, permit=permit, precondition=precondition)
    order.move_to(OrderStatus.SHIPPED)
    take_stock_at_commit(session, order)
    _add_timeline_entry(session, order, permit=permit)
    record(session, OrderShipped(**_fields(order)))
    return order


async def deliver_order(
    session: AsyncSession, *, order_id: UUID, permit: Permit, precondition: Precondition = ANY_VERSION
) -> Order:
    """Mark an order as delivered. Raises: as `_lock_for`, and TransitionNotAllowed."""
    order = await _lock_for(session, order_id, permit=permit, precondition=precondition)
    order.move_to(OrderStatus.DELIVERED)
    _add_timeline_entry(session, order, permit=permit)
    record(session, OrderDelivered(**_fields(order)))
    return order


async def refund_order(
    session: AsyncSession,
    *,
    order_id: UUID,
    permit: Permit,
    amount_cents: int,
    reason: str | None,
    precondition: Precondition = ANY_VERSION,
) -> Order:
    """Refund a part or all of an order.

    Raises: OrderNotFound, PreconditionFailed, TransitionNotAllowed, RefundExceedsTotal, or the denial of the permit.
    """
    order = await _lock_for(session, order_id, permit=permit, precondition=precondition)
    order.refund(amount_cents)
    _add_timeline_entry(session, order, permit=permit, reason=reason, amount_cents=amount_cents)
    record(session, OrderRefunded(**_fields(order), amount_cents=amount_cents, refunded_cents=order.refunded_cents))
    return order


def order_snapshot(order: Order) -> OrderSnapshot:
    """Build the event that has the order's whole state. The order's items must be loaded."""
    return OrderSnapshot(
        **_fields(order),
        status=order.status.value,
        placed_at=order.created_at,
        deadline=order.deadline,
        refunded_cents=order.refunded_cents,
        lines=_lines(order),
    )


def _confirm(session: AsyncSession, order: Order) -> Decision:
    """Confirm a pending order, whose credit is reserved."""
    order.move_to(OrderStatus.CONFIRMED)
    observe_decision_at_commit(session, order, "confirmed")
    record(session, OrderConfirmed(**_fields(order), lines=_lines(order)))
    return Decision(order)


def _reject(session: AsyncSession, order: Order, *, reason: str) -> Decision:
    """Reject a pending order, whose credit was refused, and release its stock."""
    order.move_to(OrderStatus.REJECTED)
    observe_decision_at_commit(session, order, "rejected")
    release_stock_at_commit(session, order)
    record(session, OrderRejected(**_fields(order), reason=reason))
    return Decision(order, reason)


def _cancel(session: AsyncSession, order: Order, *, reason: CancelReason, permit: Permit | None = None) -> None:
    """Cancel a locked order. The timeline names the actor, or without one the reason."""
    order.move_to(OrderStatus.CANCELLED)
    release_stock_at_commit(session, order)
    _add_timeline_entry(session, order, permit=permit, reason=None if permit else reason)
    record(session, OrderCancelled(**_fields(order), reason=reason))


async def _lock_for(session: AsyncSession, order_id: UUID, *, permit: Permit, precondition: Precondition) -> Order:
    """Lock an order that a caller changes, and return it with its items.

    Raises: OrderNotFound, PreconditionFailed, or the denial of the permit.
    """
    order = await _lock_order(session, order_id)
    if order is None:
        raise OrderNotFound
    permit.check_owner(order.user_id)
    precondition.check(order.version)
    return order


async def _lock_order(session: AsyncSession, order_id: UUID) -> Order | None:
    return await session.get(Order, order_id, with_for_update=True, options=[selectinload(Order.items)])


def _add_timeline_entry(
    session: AsyncSession,
    order: Order,
    *,
    permit: Permit | None = None,
    reason: str | None = None,
    amount_cents: int | None = None,
) -> None:
    session.add(
        TimelineEntry(
            order_id=order.id,
            status=order.status,
            actor=_actor_in(order, permit),
            actor_id=permit.user_id if permit else None,
            reason=reason,
            amount_cents=amount_cents,
        )
    )


def _actor_in(order: Order, permit: Permit | None) -> ActorKind:
    """Return who a caller is to an order. Staff are customers of their own orders."""
    if permit is None:
        return "system"
    return "customer" if permit.owns(order.user_id) else "support"


def _fields(order: Order) -> dict[str, Any]:
    """Return the fields that all events of an order have."""
    return {
        "order_id": order.id,
        "number": order.number,
        "user_id": order.user_id,
        "total_cents": order.total_cents,
        "currency": order.currency,
    }


def _lines(order: Order) -> tuple[OrderLine, ...]:
    return tuple(
        OrderLine(sku=item.sku, name=item.name, quantity=item.quantity, unit_price_cents=item.unit_price_cents)
        for item in order.items
    )
