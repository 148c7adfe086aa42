"""Operators' work on stock and overdue orders: recompute a product's reserved units, cancel an order now."""

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from services.orders.commands import cancel_as_operator, cancel_locked
from services.orders.models import OPEN_STATUSES, Order, OrderItem, OrderStatus, OverdueOrder, Product
from services.orders.overdue_orders import lock_overdue_orders
from services.orders.queries import OrderNotFound
from shared.database import Sessions
from shared.errors import Conflict, NotFound

logger = structlog.get_logger(__name__)


class SkuNotFound(NotFound):
    """There is no such product."""

    code = "product_not_found"


class StockBelowOrders(Conflict):
    """The stock is below what open orders reserve; cancel some, or use --raise-stock if the goods are there."""

    code = "stock_below_orders"


class OrderNotOverdue(Conflict):
    """The order is pending, and its deadline has not passed."""

    code = "order_not_overdue"


class StockContradictsOrder(Conflict):
    """A product has fewer units reserved than the order releases; recompute the stock of its products first."""

    code = "stock_contradicts_order"


@dataclass(frozen=True)
class Recomputation:
    """A product's reserved units and its stock, before and after."""

    sku: str
    before: tuple[int, int]
    after: tuple[int, int]


async def recompute(sessions: Sessions, sku: str, *, raise_stock: bool, actor: str, note: str) -> Recomputation:
    """Set a product's reserved units to the sum of its open orders. Repeatable.

    Raises: SkuNotFound, StockBelowOrders unless the stock is raised too.
    """
    async with sessions.begin() as session:
        product = await session.scalar(sa.select(Product).where(Product.sku == sku).with_for_update(key_share=True))
        if product is None:
            raise SkuNotFound(f"There is no product {sku}.")
        before = (product.reserved, product.stock)
        # Orders are placed and end with the product locked. So this statement, whose snapshot is not older than the
        # lock, sees those whose units are in `reserved`, and no others.
        held = await session.scalar(
            sa.select(sa.func.coalesce(sa.func.sum(OrderItem.quantity), 0))
            .join(Order, Order.id == OrderItem.order_id)
            .where(OrderItem.sku == sku, Order.status.in_(OPEN_STATUSES))
        )
        product.reserved = int(held or 0)
        if product.reserved > product.stock:
            if not raise_stock:
                raise StockBelowOrders(extra={"stock": product.stock, "reserved": product.reserved})
            product.stock = product.reserved
        after = (product.reserved, product.stock)
    logger.warning("stock_recomputed", sku=sku, before=before, after=after, actor=actor, note=note)
    return Recomputation(sku, before, after)


async def cancel_now(sessions: Sessions, order_id: UUID, *, actor: str, note: str) -> bool:
    """Cancel an order that is pending past its deadline; return False if it is no longer pending.

    The job does so by itself. It waits longer after each failure, and this command does not.

    Raises: OrderNotFound, OrderNotOverdue, StockContradictsOrder.
    """
    try:
        async with sessions.begin() as session:
            is_cancelled = await _cancel(session, order_id)
    except sa.exc.IntegrityError as error:
        raise StockContradictsOrder from error
    if is_cancelled:
        logger.warning("order_cancelled", order_id=str(order_id), reason="deadline", actor=actor, note=note)
    return is_cancelled


async def cancel(sessions: Sessions, order_id: UUID, *, actor: str, note: str) -> None:
    """Cancel an order that was not shipped. Raises: OrderNotFound, TransitionNotAllowed."""
    async with sessions.begin() as session:
        await cancel_as_operator(session, order_id)
    logger.warning("order_cancelled", order_id=str(order_id), reason="support", actor=actor, note=note)


async def _cancel(session: AsyncSession, order_id: UUID) -> bool:
    status = await session.scalar(sa.select(Order.status).where(Order.id == order_id).with_for_update())
    if status is None:
        raise OrderNotFound
    if status is not OrderStatus.PENDING:
        return False
    await session.execute(sa.delete(OverdueOrder).where(OverdueOrder.order_id == order_id))
    orders = await lock_overdue_orders(session, limit=1, only=[order_id])
    if not orders:
        raise OrderNotOverdue
    cancel_locked(session, orders, reason="deadline")
    return True
