"""Queries of the orders service."""

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from services.orders.models import Customer, Order, OrderStatus, Product
from shared.errors import NotFound
from shared.http.auth import Permit


class OrderNotFound(NotFound):
    """There is no such order."""

    code = "order_not_found"


class ProductNotFound(NotFound):
    """There is no such product."""

    code = "product_not_found"


def product_cache_key(sku: str) -> str:
    """Return the key under which a product is cached."""
    return f"orders:product:{sku}"


async def product_by_sku(session: AsyncSession, sku: str) -> Product:
    """Return a product. Raises: ProductNotFound."""
    product = await session.get(Product, sku)
    if product is None:
        raise ProductNotFound
    return product


def products_by_sku(*, search: str | None, active: bool) -> sa.Select[Product]:
    """Select products whose name contains `search`, ordered by SKU."""
    query = sa.select(Product).where(Product.active.is_(active)).order_by(Product.sku)
    if search is not None:
        # The pattern is one bound value, so that PostgreSQL can use the trigram index.
        escaped = search.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
        query = query.where(Product.name.ilike(f"%{escaped}%", escape="\\"))
    return query


def orders_newest_first(
    *, user_id: UUID | None, status: OrderStatus | None, number: str | None, stuck: bool
) -> sa.Select[Order, Customer]:
    """Select orders, newest first since ids sort by age, each with its customer if known.

    `stuck` selects those that are pending past their deadline.
    """
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


async def order_with_details(session: AsyncSession, order_id: UUID, *, permit: Permit) -> tuple[Order, Customer | None]:
    """Return an order with items and timeline, including the session's changes, and its customer if known.

    Raises: OrderNotFound, or the denial of the permit.
    """
    rows = await session.execute(
        sa.select(Order, Customer)
        .outerjoin(Customer, Customer.user_id == Order.user_id)
        .where(Order.id == order_id)
        .options(selectinload(Order.items), selectinload(Order.timeline)),
        execution_options={"populate_existing": True},
    )
    row = rows.one_or_none()
    if row is None:
        raise OrderNotFound
    permit.check_owner(row[0].user_id)
    return row[0], row[1]


async def has_products(session: AsyncSession) -> bool:
    """Return whether the catalogue has any product, for sale or not."""
    return bool(await session.scalar(sa.select(sa.exists(sa.select(Product.sku)))))
