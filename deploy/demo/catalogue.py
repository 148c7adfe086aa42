"""The catalogue: the products of the invoices, in the form that `services.orders import-catalogue` reads."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from statistics import median_low
from typing import TypedDict

from deploy.demo.invoices import Line

MIN_STOCK = 100
# The shop also used stock codes for its bookkeeping, such as "BANK CHARGES". Those contain blanks.
_SKU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Some rows have a remark such as "?" instead of a description.
_DESCRIPTION = re.compile(r"[^\W\d_]{2}")


class Product(TypedDict):
    """A product, as in a line of the catalogue file."""

    sku: str
    name: str
    description: str
    price_cents: int
    currency: str
    stock: int


def products_of(lines: Iterable[Line]) -> Iterator[Product]:
    """Yield a product for each stock code that was sold for a price and has a description."""
    sales: dict[str, list[Line]] = {}
    for line in lines:
        if line.quantity > 0 and line.price_cents > 0 and _DESCRIPTION.search(line.description):
            sales.setdefault(line.stock_code, []).append(line)
    for stock_code, sold in sorted(sales.items()):
        if _SKU.fullmatch(stock_code):
            yield _product(stock_code, sold)


def _product(stock_code: str, sold: list[Line]) -> Product:
    units = sum(line.quantity for line in sold)
    name, _ = Counter(line.description for line in sold).most_common(1)[0]
    return {
        "sku": stock_code,
        "name": name,
        "description": f"{units:,} sold on {len(sold):,} order lines of the Online Retail data.",
        "price_cents": median_low([line.price_cents for line in sold]),
        "currency": "GBP",
        # Enough to place all invoices twice.
        "stock": max(2 * units, MIN_STOCK),
    }
