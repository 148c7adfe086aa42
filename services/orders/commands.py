"""Changes of orders. Each locks the order's row first, writes rows and events, and leaves the commit to its caller."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from services.orders.models import (
    Actor,
    Customer,
    Order,
    OrderItem,
    OrderNotFound,
    OrderStatus,
    TimelineEntry,
    order_number_sequence,
    require_version,
)
from services.orders.order_number import order_number
from services.orders.stock import lock_offers, release_stock_at_commit, reserve_stock, take_stock_at_commit
from shared.errors import Conflict, Problem
from shared.events.orders import (
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
from shared.messaging.outbox.outbox import record

logger = structlog.get_logger(__name__)

MAX_TOTAL_CENTS = 2**53 - 1
"""The largest integer that every JSON reader takes exactly."""


class CurrenciesMixed(Conflict):
    """The products of an order must share one currency."""

    code = "currencies_mixed"


class TotalTooLarge(Problem):
    """The total is more than an order can be."""

    status = 422
    code = "total_too_large"


async def place_order(
    session: AsyncSession, *, order_id: UUID, user_id: UUID, quantities: Mapping[str, int], pending_at_most: timedelta
) -> Order:
    """Reserve stock for the quantities by sku, and ask for the credit; items and timeline are loaded.

    Raises: ProductUnavailable, OutOfStock, CurrenciesMixed, TotalTooLarge.
    """
    # Before the products are locked, so that they are locked for as short as can be.
    sequence, now = (await session.execute(sa.select(order_number_sequence.next_value(), _database_time()))).one()
    offers = await lock_offers(session, quantities)
    currencies = sorted({offer.currency for offer in offers.values()})
    if len(currencies) > 1:
        raise CurrenciesMixed(extra={"currencies": currencies})
    total_cents = sum(offers[sku].price_cents * quantity for sku, quantity in quantities.items())
    if total_cents > MAX_TOTAL_CENTS:
        raise TotalTooLarge
    await reserve_stock(session, quantities)
    order = Order(
        id=order_id,
        number=order_number(sequence),
        user_id=user_id,
        status=OrderStatus.PENDING,
        currency=currencies[0],
        total_cents=total_cents,
        refunded_cents=0,
        deadline=now + pending_at_most,
        created_at=now,
        updated_at=now,
        items=[
            OrderItem(
                sku=sku,
                position=position,
                name=offers[sku].name,
                unit_price_cents=offers[sku].price_cents,
                quantity=quantity,
            )
            for position, (sku, quantity) in enumerate(quantities.items(), start=1)
        ],
        timeline=[TimelineEntry(at=now, status=OrderStatus.PENDING, actor="customer", actor_id=user_id)],
    )
    session.add(order)
    await session.flush()  # for the version
    record(session, OrderCreated(**_facts(order), deadline=order.deadline))
    return order


async def confirm_order(session: AsyncSession, *, order_id: UUID) -> None:
    """The credit is reserved. A late or repeated answer changes nothing."""
    order = await _order_awaiting_credit(session, order_id)
    if order is None:
        return
    order.move_to(OrderStatus.CONFIRMED)
    _note(session, order)
    record(session, OrderConfirmed(**_facts(order), lines=_lines(order)))


async def reject_order(session: AsyncSession, *, order_id: UUID, reason: str) -> None:
    """The credit is refused: the stock is given back. A late or repeated answer changes nothing."""
    order = await _order_awaiting_credit(session, order_id)
    if order is None:
        return
    order.move_to(OrderStatus.REJECTED)
    release_stock_at_commit(session, order)
    _note(session, order, reason=reason)
    record(session, OrderRejected(**_facts(order), reason=reason))


async def cancel_order(
    session: AsyncSession, *, order_id: UUID, actor: Actor, expected_version: int | None = None
) -> Order:
    """Raises: OrderNotFound, PreconditionFailed, TransitionNotAllowed."""
    order = await _order_for(session, order_id, actor=actor, expected_version=expected_version)
    order.move_to(OrderStatus.CANCELLED)
    release_stock_at_commit(session, order)
    _note(session, order, actor=actor)
    record(session, OrderCancelled(**_facts(order), reason=actor.role_in(order)))
    return order


async def cancel_overdue_orders(session: AsyncSession, *, limit: int) -> list[Order]:
    """Cancel orders that waited for their credit past the deadline; those being changed right now are left alone."""
    overdue = await session.scalars(
        sa.select(Order)
        .where(Order.status == OrderStatus.PENDING, Order.deadline < _database_time())
        .order_by(Order.deadline)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .options(selectinload(Order.items))
    )
    orders = list(overdue)
    for order in orders:
        order.move_to(OrderStatus.CANCELLED)
        release_stock_at_commit(session, order)
        _note(session, order, reason="deadline")
        record(session, OrderCancelled(**_facts(order), reason="deadline"))
    return orders


async def ship_order(
    session: AsyncSession, *, order_id: UUID, actor: Actor, expected_version: int | None = None
) -> Order:
    """The goods leave, and with them their stock. Raises: OrderNotFound, PreconditionFailed, TransitionNotAllowed."""
    order = await _order_for(session, order_id, actor=actor, expected_version=expected_version)
    order.move_to(OrderStatus.SHIPPED)
    take_stock_at_commit(session, order)
    _note(session, order, actor=actor)
    record(session, OrderShipped(**_facts(order)))
    return order


async def deliver_order(
    session: AsyncSession, *, order_id: UUID, actor: Actor, expected_version: int | None = None
) -> Order:
    """Raises: OrderNotFound, PreconditionFailed, TransitionNotAllowed."""
    order = await _order_for(session, order_id, actor=actor, expected_version=expected_version)
    order.move_to(OrderStatus.DELIVERED)
    _note(session, order, actor=actor)
    record(session, OrderDelivered(**_facts(order)))
    return order


async def refund_order(
    session: AsyncSession,
    *,
    order_id: UUID,
    actor: Actor,
    amount_cents: int,
    reason: str | None,
    expected_version: int | None = None,
) -> Order:
    """Raises: OrderNotFound, PreconditionFailed, TransitionNotAllowed, RefundExceedsTotal."""
    order = await _order_for(session, order_id, actor=actor, expected_version=expected_version)
    order.refund(amount_cents)
    _note(session, order, actor=actor, reason=reason, amount_cents=amount_cents)
    record(session, OrderRefunded(**_facts(order), amount_cents=amount_cents, refunded_cents=order.refunded_cents))
    return order


async def remember_customers(session: AsyncSession, customers: Mapping[UUID, tuple[str, str]]) -> None:
    """Replace what is known of users: (e-mail, name) by id. Repeatable; locks the rows in the order of the ids."""
    user_ids = sorted(customers)
    columns = {
        Customer.user_id: (user_ids, sa.Uuid),
        Customer.email: ([customers[user_id][0] for user_id in user_ids], sa.Text),
        Customer.name: ([customers[user_id][1] for user_id in user_ids], sa.Text),
    }
    # One row a customer, however many there are: one statement, always the same text.
    told = sa.func.unnest(*(sa.cast(values, ARRAY(type_)) for values, type_ in columns.values()))
    rows = told.table_valued(*(sa.column(column.key, type_) for column, (_, type_) in columns.items()))
    added = insert(Customer).from_select(list(columns), sa.select(rows.render_derived(name="told")))
    await session.execute(
        added.on_conflict_do_update(
            index_elements=[Customer.user_id], set_={"email": added.excluded.email, "name": added.excluded.name}
        )
    )


def snapshot_of(order: Order) -> OrderSnapshot:
    """The order, its items loaded, for readers who know nothing of it yet."""
    return OrderSnapshot(
        **_facts(order),
        status=order.status.value,
        placed_at=order.created_at,
        deadline=order.deadline,
        refunded_cents=order.refunded_cents,
        lines=_lines(order),
    )


async def _order_for(session: AsyncSession, order_id: UUID, *, actor: Actor, expected_version: int | None) -> Order:
    """The order, locked, with its items. What the actor may not see is not there."""
    order = await _locked_order(session, order_id)
    if order is None or not actor.may_see(order):
        raise OrderNotFound
    require_version(order, expected_version)
    return order


async def _order_awaiting_credit(session: AsyncSession, order_id: UUID) -> Order | None:
    order = await _locked_order(session, order_id)
    if order is None or order.status is not OrderStatus.PENDING:
        # Cancelled in the meantime, or an order of another system: whoever reserved credit hears of that from us.
        logger.info("order_reply_ignored", order_id=str(order_id), status=order.status if order else None)
        return None
    return order


async def _locked_order(session: AsyncSession, order_id: UUID) -> Order | None:
    return await session.get(Order, order_id, with_for_update=True, options=[selectinload(Order.items)])


def _note(
    session: AsyncSession,
    order: Order,
    *,
    actor: Actor | None = None,
    reason: str | None = None,
    amount_cents: int | None = None,
) -> None:
    session.add(
        TimelineEntry(
            order_id=order.id,
            status=order.status,
            actor=actor.role_in(order) if actor else "system",
            actor_id=actor.user_id if actor else None,
            reason=reason,
            amount_cents=amount_cents,
        )
    )


def _facts(order: Order) -> dict[str, Any]:
    """What every event of an order tells."""
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


def _database_time() -> sa.Function[Any]:
    """The one clock of deadlines; not now(), which is when the transaction began."""
    return sa.func.clock_timestamp()
