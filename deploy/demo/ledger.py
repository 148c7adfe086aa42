"""What was sent and what came back: orders, errors by code, and answers that the data do not explain."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from deploy.demo.accounts import Account
from deploy.demo.client import Answer


class Sent(StrEnum):
    """What the data made of a request."""

    ORDER = "an order"
    CANCELLATION = "a cancellation"
    SHIPMENT = "a shipment"
    DELIVERY = "a delivery"
    REFUND = "a refund"
    NO_CUSTOMER = "an invoice without customer"
    NEGATIVE_QUANTITY = "a negative quantity"
    ZERO_PRICE = "a price of zero"
    UNKNOWN_CODE = "a stock code that was never sold"


ERRORS_EXPECTED: dict[Sent, frozenset[str]] = {
    Sent.ORDER: frozenset({"out_of_stock"}),
    # What is cancelled may have been rejected, for want of credit.
    Sent.CANCELLATION: frozenset({"transition_not_allowed"}),
    Sent.SHIPMENT: frozenset(),
    Sent.DELIVERY: frozenset(),
    Sent.REFUND: frozenset(),
    Sent.NO_CUSTOMER: frozenset({"token_missing"}),
    Sent.NEGATIVE_QUANTITY: frozenset({"validation_failed"}),
    Sent.ZERO_PRICE: frozenset({"validation_failed"}),
    # Some of those codes can be no sku at all.
    Sent.UNKNOWN_CODE: frozenset({"product_unavailable", "validation_failed"}),
}
DIRT = frozenset({Sent.NO_CUSTOMER, Sent.NEGATIVE_QUANTITY, Sent.ZERO_PRICE, Sent.UNKNOWN_CODE})
"""What must not succeed."""


@dataclass(frozen=True)
class PlacedOrder:
    """An order that the API took."""

    id: str
    account: Account
    stock_codes: frozenset[str]
    sent_at: datetime
    """When the first try was begun."""


@dataclass
class Ledger:
    """Filled as answers come in."""

    orders: list[PlacedOrder] = field(default_factory=list)
    errors: Counter[tuple[Sent, str]] = field(default_factory=Counter)
    surprises: list[str] = field(default_factory=list)

    def judge(self, sent: Sent, answer: Answer, *, what: str) -> bool:
        """Count the answer; whether it is a success."""
        if answer.is_success:
            if sent in DIRT:
                self.surprises.append(f"{what} ({sent}) was taken: {answer.status}")
            return True
        self.errors[sent, f"{answer.status} {answer.code}"] += 1
        if answer.code not in ERRORS_EXPECTED[sent]:
            self.surprises.append(f"{what} ({sent}) was answered {answer.status} {answer.code}")
        return False
