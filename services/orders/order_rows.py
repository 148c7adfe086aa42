"""Orders as rows: inserted, locked and updated in one statement each, without the ORM's unit of work."""

from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from services.orders.models import Order, OrderItem, OrderStatus
from shared.driver_statements import DriverStatement, fetch
from shared.errors import TooManyRequests

# PostgreSQL checks the foreign keys at the end of the statement, when the order exists. Without permission nothing is
# written, so that orders above the limit leave no dead rows.
_INSERT = DriverStatement("""
    WITH pending AS MATERIALIZED (
        SELECT p.orders, p.units, p.orders < :max_orders AND p.units + :units <= :max_units AS allowed
        FROM (
            SELECT count(*) AS orders, coalesce(sum(units), 0) AS units
            FROM customer_order WHERE user_id = :user_id AND status = 'pending'
        ) AS p
    ), reserved AS (
        UPDATE product SET reserved = product.reserved + i.quantity
        FROM unnest(CAST(:skus AS text[]), CAST(:quantities AS integer[])) AS i (sku, quantity)
        WHERE (SELECT allowed FROM pending) AND product.sku = i.sku
    ), placed AS (
        INSERT INTO customer_order (
            id, number, user_id, status, currency, total_cents, refunded_cents, units,
            deadline, version, created_at, updated_at
        ) SELECT
            :id, :number, :user_id, :status, :currency, :total_cents, 0, :units,
            :deadline, :version, :created_at, :created_at
        WHERE (SELECT allowed FROM pending)
    ), items AS (
        INSERT INTO order_item (order_id, sku, name, unit_price_cents, quantity, position)
        SELECT :id, i.* FROM unnest(
            CAST(:skus AS text[]), CAST(:names AS text[]), CAST(:unit_prices AS bigint[]),
            CAST(:quantities AS integer[])
        ) WITH ORDINALITY AS i (sku, name, unit_price_cents, quantity, position)
        WHERE (SELECT allowed FROM pending)
    ), entry AS (
        INSERT INTO order_timeline (order_id, at, status, actor, actor_id)
        SELECT :id, :created_at, :status, 'customer', :user_id WHERE (SELECT allowed FROM pending)
    )
    SELECT orders, units, allowed FROM pending
""")

_LOCK = DriverStatement("""
    SELECT o.id, o.number, o.user_id, o.status, o.currency, o.total_cents, o.created_at,
           i.sku, i.name, i.quantity, i.unit_price_cents
    FROM customer_order o JOIN order_item i ON i.order_id = o.id
    WHERE o.id = ANY(CAST(:ids AS uuid[]))
    ORDER BY o.id, i.position
    FOR UPDATE OF o
""")

_UPDATE = DriverStatement("""
    WITH decided AS (
        SELECT * FROM unnest(
            CAST(:ids AS uuid[]), CAST(:statuses AS text[]), CAST(:times AS timestamptz[]), CAST(:reasons AS text[])
        ) AS d (id, status, at, reason)
    ), updated AS (
        UPDATE customer_order o SET status = d.status, updated_at = d.at, version = o.version + 1
        FROM decided d WHERE o.id = d.id
    )
    INSERT INTO order_timeline (order_id, at, status, actor, reason)
    SELECT id, at, status, 'system', reason FROM decided
""")


RETRY_AFTER = timedelta(seconds=1)
"""Time after which some of a customer's pending orders are usually decided."""


class TooManyPendingOrders(TooManyRequests):
    """You have too many pending orders; wait until one of them is decided, or cancel one."""

    code = "too_many_pending_orders"


class TooManyPendingUnits(TooManyRequests):
    """Your pending orders and this one reserve too many units; wait until one of them is decided, or cancel one."""

    code = "too_many_pending_units"


class PendingLimits(NamedTuple):
    """Upper bounds of what one customer's pending orders may be in number, and reserve in units."""

    orders: int
    units: int


class Decision(NamedTuple):
    """An order that the system has moved to another status, and why."""

    order: Order
    reason: str | None = None


async def insert_order(session: AsyncSession, order: Order, *, limits: PendingLimits) -> None:
    """Insert a new order with its items and the first entry of its timeline, and reserve its stock.

    The caller has locked its customer and its products with an earlier statement: this one sees the customer's orders
    that were committed before it began. Raises: TooManyPendingOrders, TooManyPendingUnits.
    """
    (pending,) = await fetch(
        session,
        _INSERT,
        {
            "id": order.id,
            "number": order.number,
            "user_id": order.user_id,
            "status": order.status.value,
            "currency": order.currency,
            "total_cents": order.total_cents,
            "units": order.units,
            "max_orders": limits.orders,
            "max_units": limits.units,
            "deadline": order.deadline,
            "version": order.version,
            "created_at": order.created_at,
            "skus": [item.sku for item in order.items],
            "names": [item.name for item in order.items],
            "unit_prices": [item.unit_price_cents for item in order.items],
            "quantities": [item.quantity for item in order.items],
        },
    )
    if pending["allowed"]:
        return
    if pending["orders"] >= limits.orders:
        raise TooManyPendingOrders(retry_after=RETRY_AFTER, extra={"max_pending_orders": limits.orders})
    raise TooManyPendingUnits(
        retry_after=RETRY_AFTER, extra={"max_pending_units": limits.units, "pending_units": int(pending["units"])}
    )


async def lock_orders(session: AsyncSession, order_ids: Collection[UUID]) -> dict[UUID, Order]:
    """Lock orders, sorted by id, and return them with their items.

    The objects do not belong to the session: write their changes with `update_orders`.
    """
    rows = await fetch(session, _LOCK, {"ids": list(order_ids)})
    orders: dict[UUID, Order] = {}
    for row in rows:
        if row["id"] not in orders:
            orders[row["id"]] = Order(
                id=row["id"],
                number=row["number"],
                user_id=row["user_id"],
                status=OrderStatus(row["status"]),
                currency=row["currency"],
                total_cents=row["total_cents"],
                created_at=row["created_at"],
                items=[],
            )
        item = OrderItem(
            sku=row["sku"], name=row["name"], quantity=row["quantity"], unit_price_cents=row["unit_price_cents"]
        )
        orders[row["id"]].items.append(item)
    return orders


async def update_orders(session: AsyncSession, decisions: Iterable[Decision]) -> None:
    """Write the new status of locked orders, and add it to their timelines."""
    decided = list(decisions)
    if decided:
        await fetch(
            session,
            _UPDATE,
            {
                "ids": [order.id for order, _ in decided],
                "statuses": [order.status.value for order, _ in decided],
                "times": [order.updated_at for order, _ in decided],
                "reasons": [reason for _, reason in decided],
            },
        )
