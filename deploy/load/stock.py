"""The stock of the target: what is for sale, and refilling what a load would sell out."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deploy.demo.accounts import Account
from deploy.demo.client import Client, RequestFailed
from deploy.load.journeys import demand_of
from deploy.load.plan import Journey
from deploy.local.process import LocalError
from deploy.local.screen import Screen

AMPLE_STOCK = 10_000_000
"""The stock that a product gets if a load would sell it out."""
PAGE_SIZE = 100
IMPORTED_MEMBERS = ("sku", "name", "description", "price_cents", "currency")
MAX_CHANGES = 100
"""Products that are changed one by one. More would take minutes, since requests are limited, and are imported."""

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
    with screen.progress("Refilling products", total=len(skus)) as advance:
        for sku in skus:
            changes = {"stock": AMPLE_STOCK}
            answer = await admin.send(client, "PATCH", f"/v1/products/{sku}", json=changes, if_match="*")
            if not answer.is_success:
                raise RequestFailed(f"the stock of {sku} could not be refilled: {answer.status} {answer.code}")
            advance()


def import_stock(products: Products, *, skus: Sequence[str], screen: Screen) -> None:
    """Import products of the system of `make run` with ample stock, within seconds. Raises: LocalError."""
    with screen.step("Refilling products", f"{len(skus)} products are refilled"), TemporaryDirectory() as folder:
        file = Path(folder, "catalogue.jsonl")
        refilled = [{name: products[sku][name] for name in IMPORTED_MEMBERS} | {"stock": AMPLE_STOCK} for sku in skus]
        file.write_text("\n".join(map(json.dumps, refilled)))
        command = f"python -m services.orders import-catalogue {file}"
        result = subprocess.run(
            [sys.executable, "-m", "deploy.local", "shell", "--command", command],
            capture_output=True,
            text=True,
            check=False,
        )
    if result.returncode:
        raise LocalError(f"The products could not be refilled: {(result.stderr or result.stdout).strip()[-500:]}")
