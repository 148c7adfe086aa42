"""Reads: products for the shop, orders for those they belong to and for staff."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from services.orders.models import (
    Actor,
    Customer,
    Order,
    OrderNotFound,
    OrderStatus,
    Product,
    ProductNotFound,
)
from services.orders.schemas import CachedProduct, CustomerView, OrderSummaryView, OrderView


def product_cache_key(sku: str) -> str:
    return f"orders:product:{sku}"


async def product_by_sku(session: AsyncSession, sku: str) -> CachedProduct:
    """Raises: ProductNotFound."""
    product = await session.get(Product, sku)
    if product is None:
        raise ProductNotFound
    return CachedProduct.model_validate(product)


def products_by_sku(*, search: str | None, active: bool) -> sa.Select[Product]:
    """Products whose name contains `search`, ordered by sku."""
    query = sa.select(Product).where(Product.active.is_(active)).order_by(Product.sku)
    if search is not None:
        # One bound pattern, so that the trigram index is used.
        literally = search.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
        query = query.where(Product.name.ilike(f"%{literally}%", escape="\\"))
    return query


def orders_newest_first(
    *, user_id: UUID | None, status: OrderStatus | None, number: str | None, stuck: bool
) -> sa.Select[Order, Customer]:
    """Orders and who placed them, as far as that is known. Ids sort by age. `stuck`: pending past the deadline."""
    query = sa.select(Order, Customer).outerjoin(Customer, Customer.user_id == Order.user_id).order_by(Order.id.desc())
    if user_id is not None:
        query = query.where(Order.user_id == user_id)
    if status is not None:
        query = query.where(Order.status == status)
    if number is not None:
        query = query.where(Order.number == number)
    if stuck:
        query = query.where(Order.status == OrderStatus.PENDING, Order.deadline < sa.func.clock_timestamp())
    return query


async def order_with_details(session: AsyncSession, order_id: UUID, *, actor: Actor) -> tuple[Order, Customer | None]:
    """The order with items and timeline, what the session has changed included.

    Raises: OrderNotFound, also when it is not the actor's to see.
    """
    rows = await session.execute(
        sa.select(Order, Customer)
        .outerjoin(Customer, Customer.user_id == Order.user_id)
        .where(Order.id == order_id)
        .options(selectinload(Order.items), selectinload(Order.timeline)),
        execution_options={"populate_existing": True},
    )
    row = rows.one_or_none()
    if row is None or not actor.may_see(row[0]):
        raise OrderNotFound
    return row[0], row[1]


def summary_of(order: Order, customer: Customer | None, *, actor: Actor) -> OrderSummaryView:
    """What the actor is shown of an order in a list."""
    return OrderSummaryView.model_validate(order).model_copy(update={"customer": _shown(customer, actor)})


def body_of(order: Order, customer: Customer | None, *, actor: Actor) -> OrderView:
    """What the actor is shown of one order, items and timeline loaded."""
    return OrderView.model_validate(order).model_copy(update={"customer": _shown(customer, actor)})


def _shown(customer: Customer | None, actor: Actor) -> CustomerView | None:
    return CustomerView.model_validate(customer) if customer is not None and actor.is_staff else None


async def has_products(session: AsyncSession) -> bool:
    """Whether the catalogue holds anything, on sale or not."""
    return bool(await session.scalar(sa.select(sa.exists(sa.select(Product.sku)))))
