"""python -m services.orders import-catalogue: repeatable, and all or nothing of a bad file."""

import json
from pathlib import Path

import pytest

from services.orders import catalogue_import
from services.orders.catalogue_import import Imported, InvalidCatalogue, import_file, read_catalogue
from services.orders.settings import Settings
from tests.orders.shop import Shop


def product(sku: str, **members: object) -> dict[str, object]:
    return {"sku": sku, "name": f"Product {sku}", "price_cents": 250, "currency": "GBP", "stock": 10} | members


def file_of(folder: Path, *lines: object) -> Path:
    file = folder / "catalogue.jsonl"
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return file


async def test_new_products_are_created_changed_ones_updated_and_the_rest_left_alone(
    shop: Shop, settings: Settings, tmp_path: Path
) -> None:
    first = read_catalogue(file_of(tmp_path, product("A"), "", product("B"), product("C")))
    assert await import_file(settings, first) == Imported(created=["A", "B", "C"], updated=[], unchanged=0)
    assert await import_file(settings, first) == Imported(created=[], updated=[], unchanged=3)
    await shop.client.get("/v1/products/B")

    second = read_catalogue(
        file_of(tmp_path, product("B", price_cents=300, stock=99), product("C", stock=99), product("D"))
    )
    assert await import_file(settings, second) == Imported(created=["D"], updated=["B"], unchanged=1)

    changed = await shop.client.get("/v1/products/B")
    assert (changed.json()["price_cents"], changed.json()["stock"], changed.headers["etag"]) == (300, 10, '"2"')
    assert [(type_, data["sku"]) for type_, data in await shop.events("products")] == [
        ("product.created", "A"),
        ("product.created", "B"),
        ("product.created", "C"),
        ("product.updated", "B"),
        ("product.created", "D"),
    ]


async def test_a_large_file_goes_in_in_batches(shop: Shop, settings: Settings, tmp_path: Path) -> None:
    count = catalogue_import.BATCH + 1
    products = read_catalogue(file_of(tmp_path, *(product(f"P{number:05}") for number in range(count))))
    imported = await import_file(settings, products)
    assert len(imported.created) == count
    assert len(await shop.events("products")) == count


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: line: Invalid JSON"),
        (product("B", price_cents=0), "line 2: price_cents: "),
        ({"sku": "B"}, "line 2: name: Field required"),
        (product("A"), "line 2: the sku A was there before"),
        (product("B", colour="red"), "line 2: colour: "),
    ],
)
def test_a_bad_line_is_named_before_anything_is_imported(tmp_path: Path, line: object, said: str) -> None:
    with pytest.raises(InvalidCatalogue, match=f"^{said}"):
        read_catalogue(file_of(tmp_path, product("A"), line))
