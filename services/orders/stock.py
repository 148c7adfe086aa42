"""Stock: set aside for open orders, given back, or taken when an order leaves.

Locks are taken in one order everywhere, so that no two transactions wait for each other: orders first, then products
by sku. A slice of events can settle many orders in one transaction; so what settles them only says here what it
gives back or takes, and that is carried out once, sorted, as the transaction commits.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, Session, SessionTransaction

from services.orders.models import Order, Product
from shared.errors import Conflict
from shared.messaging.outbox import OutboxSession

_SETTLEMENTS = "stock_settlements"
_MARKS = "stock_settlement_marks"


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


def release_stock(session: AsyncSession, order: Order) -> None:
    """Give back, with the commit, what the order holds. Its items are loaded."""
    settlements = session.info.setdefault(_SETTLEMENTS, [])
    settlements.extend(_Settlement(item.sku, released=item.quantity) for item in order.items)


def take_stock(session: AsyncSession, order: Order) -> None:
    """Take out, with the commit, what the order holds: the goods leave. Its items are loaded."""
    settlements = session.info.setdefault(_SETTLEMENTS, [])
    settlements.extend(_Settlement(item.sku, taken=item.quantity) for item in order.items)


# Before the outbox's own hook, which writes a transaction's last statement.
@event.listens_for(OutboxSession, "before_commit", insert=True)
def _settle(session: Session) -> None:
    # The hook also runs when a savepoint is released; the settlements wait for the transaction itself.
    if session.in_nested_transaction():
        return
    settlements: list[_Settlement] = session.info.pop(_SETTLEMENTS, [])
    if not settlements:
        return
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


@event.listens_for(OutboxSession, "after_transaction_create")
def _mark_savepoint(session: Session, transaction: SessionTransaction) -> None:
    if transaction.nested:
        session.info.setdefault(_MARKS, {})[transaction] = len(session.info.get(_SETTLEMENTS, []))


@event.listens_for(OutboxSession, "after_soft_rollback")
def _drop_rolled_back(session: Session, transaction: SessionTransaction) -> None:
    if transaction.nested:
        del session.info.get(_SETTLEMENTS, [])[session.info[_MARKS].pop(transaction) :]
    else:
        for what in (_SETTLEMENTS, _MARKS):
            session.info.pop(what, None)


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
