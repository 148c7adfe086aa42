"""The demo's invoices, and the catalogue that is made of them."""

import io
import json
from pathlib import Path

from deploy.demo.catalogue import Product, products_of
from deploy.demo.invoices import FILE, Invoice, Line, invoices_of, parse_lines, read_lines
from services.orders.catalogue_import import read_catalogue
from services.orders.schemas import NewProduct
from tests.deploy.order_lines import line

HEADER = "InvoiceNo,StockCode,Description,Quantity,UnitPrice,CustomerID,Country\n"


def test_invalid_values_are_kept() -> None:
    rows = (
        "536365,85123A,WHITE HANGING  HEART ,6,2.55,17850,United Kingdom\n"
        "536414,22139,,56,0,,United Kingdom\n"
        "C536379,D,Discount,-1,27.5,14527,United Kingdom\n"
        '536381,"POST","GIFT, WITH £ SIGN",1,0.001,15311,Germany\n'
    )

    assert parse_lines(io.StringIO(HEADER + rows, newline="")) == [
        Line("536365", "85123A", "WHITE HANGING HEART", 6, 255, "17850", "United Kingdom"),
        Line("536414", "22139", "", 56, 0, None, "United Kingdom"),
        Line("C536379", "D", "Discount", -1, 2750, "14527", "United Kingdom"),
        Line("536381", "POST", "GIFT, WITH £ SIGN", 1, 0, "15311", "Germany"),
    ]


def test_the_whole_file_is_read() -> None:
    lines = read_lines()

    assert FILE.stat().st_size < 300_000
    assert len(lines) == 50_062
    assert sum(line.customer is None for line in lines) == 17_881
    invoices = invoices_of(lines)
    assert len(invoices) == 2_342
    assert sum(invoice.is_cancellation for invoice in invoices) == 384
    assert len({invoice.customer for invoice in invoices} - {None}) == 1_041
    assert max(len(invoice.lines) for invoice in invoices) == 675


def test_invoices_have_the_order_of_their_first_lines() -> None:
    first, other, second = line(invoice="1"), line(invoice="C2", quantity=-1), line(invoice="1", stock_code="B")

    invoices = invoices_of([first, other, second])

    assert invoices == [Invoice("1", (first, second)), Invoice("C2", (other,))]
    assert [invoice.is_cancellation for invoice in invoices] == [False, True]
    assert [invoice.has_negative_quantity for invoice in invoices] == [False, True]


def test_a_product_has_the_median_price_and_the_most_frequent_description() -> None:
    lines = [
        line(stock_code="A", description="LAMP", price_cents=300, quantity=60),
        line(stock_code="A", description="A LAMP", price_cents=100, quantity=10),
        line(stock_code="A", description="LAMP", price_cents=200, quantity=30),
    ]

    assert list(products_of(lines)) == [
        Product(
            sku="A",
            name="LAMP",
            description="100 sold on 3 order lines of the Online Retail data.",
            price_cents=200,
            currency="GBP",
            stock=200,
        )
    ]


def test_a_product_that_sold_little_has_the_minimum_stock() -> None:
    assert [product["stock"] for product in products_of([line(quantity=1)])] == [100]


def test_a_stock_code_that_was_never_sold_is_no_product() -> None:
    lines = [
        line(stock_code="FREE", price_cents=0),
        line(stock_code="BACK", quantity=-1),
        line(stock_code="REMARK", description="?"),
        line(stock_code="NAMELESS", description=""),
        line(stock_code="BANK CHARGES"),
    ]

    assert list(products_of(lines)) == []


def test_the_import_accepts_every_product_of_the_data(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.jsonl"
    products = list(products_of(read_lines()))
    file.write_text("".join(f"{json.dumps(product)}\n" for product in products))

    assert read_catalogue(file) == [NewProduct(**product) for product in products]
    assert len(products) == 2_839
