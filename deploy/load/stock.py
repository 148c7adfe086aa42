"""The stock of the target: what is for sale, and refilling what a load would sell out."""

from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from deploy.demo.accounts import Account
from deploy.demo.client import Client, RequestFailed
from deploy.load.journeys import demand_of
from deploy.load.plan import Journey
from deploy.local.screen import Screen

AMPLE_STOCK = 10_000_000
"""The stock that a product gets if a load would sell it out."""
PAGE_SIZE = 100
MANY_CHANGES = 300
"""Changes of products that take long enough to say so: an admin may send 600 requests in a minute."""

Products = Mapping[str, Mapping[str, Any]]


async def products_for_sale(client: Client) -> dict[str, dict[str, Any]]:
    """Return the products that are for sale, by SKU. Raises: RequestFailed."""
    found: dict[str, dict[str, Any]] = {}
    params = {"limit": str(PAGE_SIZE)}
    while True:
        answer = await client.send("GET", "/v1/products", params=params)
        if not answer.is_success:
            raise RequestFailed(f"the catalogue could not be read: {answer.status} {answer.code}")
        found |= {product["sku"]: product for product in answer.body["items"]}
        if not answer.body["next_cursor"]:
            return found
        params["cursor"] = answer.body["next_cursor"]


def short_products(products: Products, *, journeys: Sequence[Journey], number: int) -> list[str]:
    """Return the SKUs that twice `number` journeys would sell out."""
    demand = demand_of(journeys, number=2 * number)
    return [sku for sku, units in demand.items() if products[sku]["available"] < units]


async def change_stock(client: Client, admin: Account, *, skus: Sequence[str], screen: Screen) -> None:
    """Change the stock of each product, which works everywhere and takes a minute for 600. Raises: RequestFailed."""
    if len(skus) > MANY_CHANGES:
        screen.note(f"Refilling {len(skus):,} products takes minutes, once per target, since requests are limited.")
    with screen.progress("Refilling products", total=len(skus)) as advance:
        for sku in skus:
            changes = {"stock": AMPLE_STOCK}
            answer = await admin.send(client, "PATCH", f"/v1/products/{sku}", json=changes, if_match="*")
            if not answer.is_success:
                raise RequestFailed(f"the stock of {sku} could not be refilled: {answer.status} {answer.code}")
            advance()


async def refill_in_database(url: str, *, skus: Sequence[str], screen: Screen) -> None:
    """Set the stock of products of the system of `make run`, within a second. `url`: of the database of orders."""
    with screen.step("Refilling products", f"{len(skus)} products are refilled"):
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(
                "UPDATE product SET stock = $2, version = version + 1 WHERE sku = ANY($1)", skus, AMPLE_STOCK
            )
        finally:
            await connection.close()
