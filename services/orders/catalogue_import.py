"""Import of a catalogue from a file of JSON lines: the whole file is checked first, then imported in batches."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from pydantic import ValidationError

from services.orders.catalogue_commands import import_products
from services.orders.queries import has_products, product_cache_key
from services.orders.schemas import NewProduct
from services.orders.settings import Settings
from shared.cache import open_cache
from shared.database import open_database

logger = structlog.get_logger(__name__)

BATCH_SIZE = 500
"""Products per transaction. More would hold their locks for longer."""


class CatalogueInvalid(Exception):
    """A line of the file is not a valid product."""


@dataclass
class Imported:
    """The outcome of an import: the SKUs of created and updated products, and the number of unchanged ones."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: int = 0


def read_catalogue(file: Path) -> list[NewProduct]:
    """Read the products of a file, skipping blank lines. Raises: CatalogueInvalid, with the first invalid line."""
    products: dict[str, NewProduct] = {}
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                product = NewProduct.model_validate_json(line)
            except ValidationError as invalid:
                problem = invalid.errors(include_url=False, include_context=False)[0]
                member = ".".join(str(part) for part in problem["loc"])
                raise CatalogueInvalid(f"line {number}: {member or 'line'}: {problem['msg']}") from invalid
            if product.sku in products:
                raise CatalogueInvalid(f"line {number}: the SKU {product.sku} occurs twice")
            products[product.sku] = product
    return list(products.values())


async def import_file(settings: Settings, products: Sequence[NewProduct]) -> Imported:
    """Import products, one transaction per batch. Repeat an interrupted import to complete it."""
    database = open_database(settings.database_url, service="orders", pool_size=1)
    cache = open_cache(settings.valkey_url, prefix="orders")
    total = Imported()
    try:
        for start in range(0, len(products), BATCH_SIZE):
            batch = products[start : start + BATCH_SIZE]
            async with database.sessions.begin() as session:
                imported = await import_products(session, batch)
            if imported.updated:
                await cache.invalidate(*map(product_cache_key, imported.updated))
            total.created += imported.created
            total.updated += imported.updated
            total.unchanged += len(batch) - len(imported.created) - len(imported.updated)
            logger.info("catalogue_batch_imported", created=len(imported.created), updated=len(imported.updated))
    finally:
        await cache.close()
        await database.close()
    return total


async def fill_empty_catalogue(settings: Settings, file: Path) -> Imported | None:
    """Import a file in one transaction if there are no products, else return None. Raises: CatalogueInvalid."""
    database = open_database(settings.database_url, service="orders", pool_size=1)
    try:
        async with database.sessions.begin() as session:
            if await has_products(session):
                return None
            imported = await import_products(session, read_catalogue(file))
        return Imported(created=imported.created, updated=imported.updated)
    finally:
        await database.close()
