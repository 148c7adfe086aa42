"""Stock: reserved for open orders, released when an order ends, taken when its goods leave.

Every transaction takes its locks in one order, so that no two wait for each other: orders first, then products by sku.
A batch of events can end many orders in one transaction. So a command only records here what it releases or takes;
the sum is written once, sorted by sku, as the transaction commits.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, Session

from services.orders.models import Order, Product
from shared.commit_buffer import CommitBuffer
from shared.errors import Conflict


class ProductUnavailable(Conflict):
    """Something ordered is not for sale."""

    code = "product_unavailable"


class OutOfStock(Conflict):
    """There is not enough stock."""

    code = "out_of_stock"


@dataclass(frozen=True)
class _Settlement:
    """What a transaction does to a product at its end."""

    sku: str
    released: int = 0
    taken: int = 0


@dataclass(frozen=True)
class Offer:
    """A product that was locked for an order, as it is sold now."""

    sku: str
    name: str
    price_cents: int
    currency: str


async def lock_offers(session: AsyncSession, quantities: Mapping[str, int]) -> dict[str, Offer]:
    """Lock the products, by sku, and see that they can be sold in these quantities.

    Raises: ProductUnavailable, OutOfStock.
    """
    rows = await session.execute(
        _locked(list(quantities), Product.name, Product.price_cents, Product.currency, Product.active)
    )
    found = {row.sku: row for row in rows}
    unavailable = [sku for sku in quantities if sku not in found or not found[sku].active]
    if unavailable:
        raise ProductUnavailable(extra={"skus": unavailable})
    short = [
        {"sku": sku, "wanted": wanted, "available": found[sku].available}
        for sku, wanted in quantities.items()
        if wanted > found[sku].available
    ]
    if short:
        raise OutOfStock(extra={"items": short})
    return {sku: Offer(sku, row.name, row.price_cents, row.currency) for sku, row in found.items()}


async def reserve_stock(session: AsyncSession, quantities: Mapping[str, int]) -> None:
    """Set aside what `lock_offers` found in this transaction."""
    change = _change(list(quantities), reserved=list(quantities.values()))
    await session.execute(
        sa.update(Product).where(Product.sku == change.c.sku).values(reserved=Product.reserved + change.c.reserved),
        execution_options={"synchronize_session": False},
    )


def release_stock_at_commit(session: AsyncSession, order: Order) -> None:
    """Return the order's reserved stock as the transaction commits. The order's items are loaded."""
    _settlements.add(session, *(_Settlement(item.sku, released=item.quantity) for item in order.items))


def take_stock_at_commit(session: AsyncSession, order: Order) -> None:
    """Remove the order's reserved stock as the transaction commits: the goods leave. The order's items are loaded."""
    _settlements.add(session, *(_Settlement(item.sku, taken=item.quantity) for item in order.items))


def _settle(session: Session, settlements: list[_Settlement]) -> None:
    released, taken = Counter[str](), Counter[str]()
    for settlement in settlements:
        released[settlement.sku] += settlement.released
        taken[settlement.sku] += settlement.taken
    skus = sorted(released)
    session.execute(_locked(skus)).all()
    change = _change(skus, released=[released[sku] for sku in skus], taken=[taken[sku] for sku in skus])
    session.execute(
        sa.update(Product)
        .where(Product.sku == change.c.sku)
        .values(
            reserved=Product.reserved - change.c.released - change.c.taken,
            stock=Product.stock - change.c.taken,
            # Whoever changes the stock by hand must have seen that some of it left.
            version=Product.version + sa.cast(change.c.taken > 0, sa.Integer),
        ),
        execution_options={"synchronize_session": False},
    )


_settlements = CommitBuffer(_settle)


def _locked(skus: list[str], *columns: InstrumentedAttribute[Any]) -> sa.Select[*tuple[Any, ...]]:
    # Not FOR UPDATE: the foreign keys of other orders' items may go on reading the row.
    return (
        sa.select(Product.sku, (Product.stock - Product.reserved).label("available"), *columns)
        .where(Product.sku == sa.any_(sa.cast(skus, ARRAY(sa.Text))))
        .order_by(Product.sku)
        .with_for_update(key_share=True)
    )


def _change(skus: list[str], **amounts: list[int]) -> sa.TableValuedAlias:
    """One row a product, however many there are: one statement, always the same text."""
    return (
        sa.func.unnest(
            sa.cast(skus, ARRAY(sa.Text)), *(sa.cast(amount, ARRAY(sa.Integer)) for amount in amounts.values())
        )
        .table_valued(sa.column("sku", sa.Text), *(sa.column(name, sa.Integer) for name in amounts))
        .render_derived(name="change")
    )
