"""Import of a catalogue from a file."""

import json
from pathlib import Path

import pytest

from services.orders import catalogue_import
from services.orders.catalogue_import import CatalogueInvalid, Imported, import_file, read_catalogue
from services.orders.settings import Settings
from shared.http.etags import etag_of
from tests.orders.service import OrdersService


def product(sku: str, **members: object) -> dict[str, object]:
    return {"sku": sku, "name": f"Product {sku}", "price_cents": 250, "currency": "GBP", "stock": 10} | members


def file_of(folder: Path, *lines: object) -> Path:
    file = folder / "catalogue.jsonl"
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return file


async def test_an_import_creates_new_and_updates_changed_products(
    service: OrdersService, settings: Settings, tmp_path: Path
) -> None:
    first = read_catalogue(file_of(tmp_path, product("A"), "", product("B"), product("C")))
    assert await import_file(settings, first) == Imported(created=["A", "B", "C"], updated=[], unchanged=0)
    assert await import_file(settings, first) == Imported(created=[], updated=[], unchanged=3)
    await service.http.get("/v1/products/B")

    second = read_catalogue(
        file_of(tmp_path, product("B", price_cents=300, stock=99), product("C", stock=99), product("D"))
    )
    assert await import_file(settings, second) == Imported(created=["D"], updated=["B"], unchanged=1)

    changed = await service.http.get("/v1/products/B")
    assert (changed.json()["price_cents"], changed.json()["stock"], changed.headers["etag"]) == (
        300,
        10,
        etag_of(2, 10),
    )
    assert [(type_, data["sku"]) for type_, data in await service.events("products")] == [
        ("product.created", "A"),
        ("product.created", "B"),
        ("product.created", "C"),
        ("product.updated", "B"),
        ("product.created", "D"),
    ]


async def test_a_large_file_is_imported_in_batches(service: OrdersService, settings: Settings, tmp_path: Path) -> None:
    count = catalogue_import.BATCH_SIZE + 1
    products = read_catalogue(file_of(tmp_path, *(product(f"P{number:05}") for number in range(count))))
    imported = await import_file(settings, products)
    assert len(imported.created) == count
    assert len(await service.events("products")) == count


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: line: Invalid JSON"),
        (product("B", price_cents=0), "line 2: price_cents: "),
        ({"sku": "B"}, "line 2: name: Field required"),
        (product("A"), "line 2: the SKU A occurs twice"),
        (product("B", colour="red"), "line 2: colour: "),
    ],
)
def test_the_first_invalid_line_is_named_in_the_error(tmp_path: Path, line: object, message: str) -> None:
    with pytest.raises(CatalogueInvalid, match=f"^{message}"):
        read_catalogue(file_of(tmp_path, product("A"), line))
