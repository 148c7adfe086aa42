"""Commands of products: create and update one, or import many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.orders.models import Product
from services.orders.queries import ProductNotFound
from services.orders.schemas import NewProduct, ProductChanges
from shared.errors import Conflict
from shared.events.orders import ProductCreated, ProductUpdated
from shared.messaging.outbox.outbox import record
from shared.preconditions import Precondition


class SkuTaken(Conflict):
    """There is a product with this SKU already."""

    code = "sku_taken"


@dataclass(frozen=True)
class ImportedBatch:
    """The SKUs that a batch created and updated. Unchanged products are in neither list."""

    created: list[str]
    updated: list[str]


async def create_product(session: AsyncSession, new: NewProduct) -> Product:
    """Create a product. Raises: SkuTaken."""
    inserted = await session.scalars(
        insert(Product)
        .values(**new.model_dump(), reserved=0, active=True, version=1)
        .on_conflict_do_nothing(index_elements=[Product.sku])
        .returning(Product)
    )
    product = inserted.one_or_none()
    if product is None:
        raise SkuTaken
    _record(session, product, ProductCreated)
    return product


async def update_product(
    session: AsyncSession, *, sku: str, changes: ProductChanges, precondition: Precondition
) -> tuple[Product, bool]:
    """Change the members of a product that are set; return it, and whether that changed anything.

    Raises: ProductNotFound, PreconditionFailed, StockBelowReserved.
    """
    product = await session.get(Product, sku, with_for_update={"key_share": True})
    if product is None:
        raise ProductNotFound
    precondition.check(product.version)
    for field, value in changes.model_dump(exclude_unset=True, exclude={"stock"}).items():
        setattr(product, field, value)
    if changes.stock is not None:
        product.set_stock(changes.stock)
    is_changed = session.is_modified(product)
    if is_changed:
        _record(session, product, ProductUpdated)
        await session.flush()  # sets the version
    return product, is_changed


async def import_products(session: AsyncSession, products: Sequence[NewProduct]) -> ImportedBatch:
    """Insert new products, and update name, description and price of known ones, but not their stock. Repeatable.

    A SKU may occur only once.
    """
    # Sorted by SKU, the order in which every transaction locks products.
    rows = [product.model_dump() for product in sorted(products, key=lambda product: product.sku)]
    statement = insert(Product).values([{**row, "reserved": 0, "active": True, "version": 1} for row in rows])
    replaced = ("name", "description", "price_cents", "currency")
    present = sa.tuple_(*(getattr(Product, column) for column in replaced))
    given = sa.tuple_(*(getattr(statement.excluded, column) for column in replaced))
    result = await session.scalars(
        statement.on_conflict_do_update(
            index_elements=[Product.sku],
            set_={column: getattr(statement.excluded, column) for column in replaced}
            | {"version": Product.version + 1},
            where=present.is_distinct_from(given),
        ).returning(Product)
    )
    batch = ImportedBatch(created=[], updated=[])
    for product in result:
        is_new = product.version == 1
        (batch.created if is_new else batch.updated).append(product.sku)
        _record(session, product, ProductCreated if is_new else ProductUpdated)
    return batch


def product_updated(product: Product) -> ProductUpdated:
    """Build the event that has the product's present state."""
    return ProductUpdated(**_fields(product))


def _record(session: AsyncSession, product: Product, event_type: type[ProductCreated] | type[ProductUpdated]) -> None:
    record(session, event_type(**_fields(product)))


def _fields(product: Product) -> dict[str, Any]:
    """Return the fields that all events of a product have."""
    return {
        "sku": product.sku,
        "name": product.name,
        "price_cents": product.price_cents,
        "currency": product.currency,
        "active": product.active,
    }
