"""Stock: reserved for open orders, released when an order ends, taken when its goods are shipped.

Every transaction takes its locks in the same order, so that no two wait for each other: orders or a customer first,
then products by SKU. A batch of events can end many orders in one transaction. So a command only collects here what it
releases or takes; the sums are written once, sorted by SKU, as the transaction commits.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from services.orders.models import Order, Product
from shared.commit_buffer import CommitBuffer
from shared.driver_statements import DriverStatement, fetch, fetch_in
from shared.errors import Conflict
from shared.statements import array_rows

# FOR NO KEY UPDATE instead of FOR UPDATE, which would block inserts of other orders' items by their foreign keys.
_LOCK = DriverStatement("""
    SELECT sku FROM product WHERE sku = ANY(CAST(:skus AS text[])) ORDER BY sku FOR NO KEY UPDATE
""")
# The subqueries do not refer to the row, so they are evaluated once, and the one in the condition before any row is
# read: it lets one customer's orders wait for each other, so that they see each other when pending orders are counted.
_LOCK_FOR_ORDER = DriverStatement("""
    SELECT sku, name, price_cents, currency, active, stock - reserved AS available,
           (SELECT nextval('order_number')) AS order_sequence, (SELECT clock_timestamp()) AS now
    FROM product
    WHERE (SELECT pg_advisory_xact_lock(:lock_space, :user_lock)) IS NOT NULL AND sku = ANY(CAST(:skus AS text[]))
    ORDER BY sku FOR NO KEY UPDATE
""")
_CUSTOMER_LOCKS = 1
"""The first key of the advisory locks of customers."""


class ProductUnavailable(Conflict):
    """A product of the order is not for sale."""

    code = "product_unavailable"


class OutOfStock(Conflict):
    """There is not enough stock."""

    code = "out_of_stock"


@dataclass(frozen=True)
class _StockChange:
    """The quantity of a product that an order's end releases or takes."""

    sku: str
    released: int = 0
    taken: int = 0


@dataclass(frozen=True)
class LockedProduct:
    """A product as it is sold now, locked for an order."""

    sku: str
    name: str
    price_cents: int
    currency: str


class LockedProducts(NamedTuple):
    """The products of an order by SKU, with its sequence number and the time, read in the same statement."""

    by_sku: dict[str, LockedProduct]
    order_sequence: int
    """The next value of the sequence of order numbers."""
    now: datetime
    """The time of the clock that decides on deadlines."""


async def lock_products(session: AsyncSession, quantities: Mapping[str, int], *, user_id: UUID) -> LockedProducts:
    """Lock the customer, then the products, ordered by SKU; check that they are for sale in these quantities.

    Raises: ProductUnavailable, OutOfStock.
    """
    # Customers whose ids end alike share a lock.
    user_lock = int.from_bytes(user_id.bytes[-4:], signed=True)
    rows = await fetch(
        session,
        _LOCK_FOR_ORDER,
        {"skus": list(quantities), "lock_space": _CUSTOMER_LOCKS, "user_lock": user_lock},
    )
    found = {row["sku"]: row for row in rows}
    unavailable = [sku for sku in quantities if sku not in found or not found[sku]["active"]]
    if unavailable:
        raise ProductUnavailable(extra={"skus": unavailable})
    short = [
        {"sku": sku, "wanted": wanted, "available": found[sku]["available"]}
        for sku, wanted in quantities.items()
        if wanted > found[sku]["available"]
    ]
    if short:
        raise OutOfStock(extra={"items": short})
    by_sku = {sku: LockedProduct(sku, row["name"], row["price_cents"], row["currency"]) for sku, row in found.items()}
    return LockedProducts(by_sku, rows[0]["order_sequence"], rows[0]["now"])


def release_stock_at_commit(session: AsyncSession, order: Order) -> None:
    """Release the order's reserved stock as the transaction commits. The order's items must be loaded."""
    _stock_changes.add(session, *(_StockChange(item.sku, released=item.quantity) for item in order.items))


def take_stock_at_commit(session: AsyncSession, order: Order) -> None:
    """Take the order's reserved stock as the transaction commits. The order's items must be loaded."""
    _stock_changes.add(session, *(_StockChange(item.sku, taken=item.quantity) for item in order.items))


def _apply(session: Session, changes: list[_StockChange]) -> None:
    released, taken = Counter[str](), Counter[str]()
    for change in changes:
        released[change.sku] += change.released
        taken[change.sku] += change.taken
    skus = sorted(released)
    fetch_in(session, _LOCK, {"skus": skus})
    rows = array_rows(
        "change",
        sku=(skus, sa.Text),
        released=([released[sku] for sku in skus], sa.Integer),
        taken=([taken[sku] for sku in skus], sa.Integer),
    )
    session.execute(
        sa.update(Product)
        .where(Product.sku == rows.c.sku)
        .values(
            reserved=Product.reserved - rows.c.released - rows.c.taken,
            stock=Product.stock - rows.c.taken,
            # An admin who sets the stock must have read the stock that is left.
            version=Product.version + sa.cast(rows.c.taken > 0, sa.Integer),
        ),
        execution_options={"synchronize_session": False},
    )


_stock_changes = CommitBuffer(_apply)
