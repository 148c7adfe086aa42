"""Checks of products: their stock against the open orders."""

from collections.abc import Sequence

from deploy.audit import commands
from deploy.audit.context import Context
from deploy.audit.findings import Invariant, Key, Kind, Violation

MAX_OPEN_ORDERS = 100_000
"""Above this number of open orders, only a full run checks the stock."""

# One statement reads all open orders, however many products are checked: no index leads from a product to its open
# orders, and one that did would cost every order. OFFSET 0 makes the planner look up the items of each open order:
# joining the tables otherwise, it would read the items of all orders that were ever placed.
_STOCK = """
    SELECT sku, stock, reserved, coalesce(held, 0) AS held
    FROM product LEFT JOIN (
        SELECT i.sku, sum(i.quantity) AS held
        FROM customer_order o, LATERAL (SELECT sku, quantity FROM order_item WHERE order_id = o.id OFFSET 0) AS i
        WHERE o.status IN ('pending', 'confirmed') AND ($1::text[] IS NULL OR i.sku = ANY($1))
        GROUP BY i.sku
    ) open_orders USING (sku)
    WHERE ($1::text[] IS NULL OR sku = ANY($1))
    AND (reserved NOT BETWEEN 0 AND stock OR reserved <> coalesce(held, 0))
"""
_HAS_MANY_OPEN_ORDERS = """
    SELECT count(*) > $1 FROM (
        SELECT FROM customer_order WHERE status IN ('pending', 'confirmed') LIMIT $1 + 1
    ) AS counted
"""


async def has_many_open_orders(context: Context, *, limit: int = MAX_OPEN_ORDERS) -> bool:
    """Return whether so many orders are open that reading them takes seconds."""
    many: bool = await context.databases["orders"].fetchval(_HAS_MANY_OPEN_ORDERS, limit)
    return many


async def check_products(context: Context, skus: Sequence[str] | None) -> list[Violation]:
    """Check products by SKU; None checks all."""
    found: list[Violation] = []
    for sku, stock, reserved, held in await context.databases["orders"].fetch(_STOCK, skus):
        key = Key(Kind.PRODUCT, sku)
        if not 0 <= reserved <= stock:
            text = f"product {sku}: {reserved} reserved, but the stock is {stock}"
            command = commands.recompute_stock(sku, raise_stock=True)
            found.append(Violation(Invariant.STOCK_NOT_OVERSOLD, key, text, command))
        if reserved != held:
            text = f"product {sku}: {reserved} reserved, but the open orders add up to {held}"
            found.append(Violation(Invariant.STOCK_IS_SUM_OF_ORDERS, key, text, commands.recompute_stock(sku)))
    return found
