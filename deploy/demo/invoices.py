"""The invoices of the order data, as they are: invalid values included."""

import csv
import lzma
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import NamedTuple, TextIO

FILE = Path(__file__).with_name("online_retail.csv.xz")


class Line(NamedTuple):
    """One row. A quantity can be negative, a price zero; description and customer can be missing."""

    invoice: str
    stock_code: str
    description: str
    quantity: int
    price_cents: int
    customer: str | None
    country: str


@dataclass(frozen=True, slots=True)
class Invoice:
    """The rows with one invoice number. All of them have the same customer."""

    number: str
    lines: tuple[Line, ...]

    @property
    def customer(self) -> str | None:
        return self.lines[0].customer

    @property
    def country(self) -> str:
        return self.lines[0].country

    @property
    def is_cancellation(self) -> bool:
        return self.number.startswith("C")

    @property
    def has_negative_quantity(self) -> bool:
        """Return whether a quantity is zero or less, as in cancellations and in what the shop wrote off."""
        return any(line.quantity <= 0 for line in self.lines)


def read_lines() -> list[Line]:
    """Return every row, in the order of the file."""
    with lzma.open(FILE, "rt", encoding="latin-1", newline="") as text:
        return parse_lines(text)


def parse_lines(text: TextIO) -> list[Line]:
    """Parse CSV whose first row has the names of the columns."""
    rows = csv.reader(text)
    next(rows)
    return [
        Line(
            invoice=invoice,
            stock_code=stock_code.strip(),
            description=" ".join(description.split()),
            quantity=int(quantity),
            price_cents=_cents(price),
            customer=customer or None,
            country=country,
        )
        for invoice, stock_code, description, quantity, price, customer, country in rows
    ]


def invoices_of(lines: Iterable[Line]) -> list[Invoice]:
    """Group rows into invoices, in the order of the invoices' first rows."""
    rows: dict[str, list[Line]] = {}
    for line in lines:
        rows.setdefault(line.invoice, []).append(line)
    return [Invoice(number, tuple(of_invoice)) for number, of_invoice in rows.items()]


@cache
def _cents(pounds: str) -> int:
    return int((Decimal(pounds) * 100).to_integral_value())
