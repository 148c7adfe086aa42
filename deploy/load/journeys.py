"""The journeys of the customers: each real invoice is a basket, each real cancellation an order to cancel."""

import random
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, islice, repeat

from deploy.demo.invoices import Invoice, invoices_of, read_lines
from deploy.demo.order_placement import kind_of
from deploy.demo.request_log import RequestKind
from deploy.load.plan import Journey
from deploy.local.process import LocalError

MIN_SEARCH_LENGTH = 3
"""Characters of the shortest word that the API searches for."""


class NoBaskets(LocalError):
    """The target's catalogue lacks the products of every invoice."""


def journeys_of_invoices(skus: Collection[str], *, seed: int) -> list[Journey]:
    """Return a journey for each invoice that can be ordered or cancels something, in random order. Raises: NoBaskets.

    Invoices that the API must refuse are left out: they test validation, and `make demo` places them.
    `skus`: the products in the target's catalogue.
    """
    journeys = [*_journeys(invoices_of(read_lines()), skus)]
    if not any(journey.items for journey in journeys):
        raise NoBaskets(
            f"The catalogue of the target ({len(skus)} products) lacks the products of the real invoices. Import them:"
            " python -m deploy.demo catalogue > catalogue.jsonl;"
            " python -m services.orders import-catalogue catalogue.jsonl"
        )
    random.Random(seed).shuffle(journeys)  # noqa: S311 - reproducible by its seed
    return journeys


def demand_of(journeys: Sequence[Journey], *, number: int) -> Counter[str]:
    """Return the units by SKU that the first `number` journeys order, which begin again after the last one."""
    demand = Counter[str]()
    for journey in islice(chain.from_iterable(repeat(journeys)), number):
        demand.update(journey.items)
    return demand


def _journeys(invoices: Sequence[Invoice], skus: Collection[str]) -> Iterator[Journey]:
    for invoice in invoices:
        if invoice.customer and invoice.is_cancellation:
            yield Journey({})
        elif kind_of(invoice, stock_codes=skus) is RequestKind.ORDER:
            quantities = Counter[str]()
            for line in invoice.lines:
                quantities[line.stock_code] += line.quantity
            yield Journey(dict(quantities), search=_word_of(invoice.lines[0].description))


def _word_of(description: str) -> str:
    """Return the longest word of a product's name, or nothing if all are too short for a search."""
    words = [word for word in description.split() if word.isalpha() and len(word) >= MIN_SEARCH_LENGTH]
    return max(words, key=len, default="")
