"""The log of a run's requests: the orders that were placed, the error responses, and the unexpected responses."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from deploy.demo.accounts import Account
from deploy.demo.client import Answer


class RequestKind(StrEnum):
    """The kind of a request, which decides the responses to expect. The report prints the values."""

    ORDER = "order"
    CANCELLATION = "cancellation"
    SHIPMENT = "shipment"
    DELIVERY = "delivery"
    REFUND = "refund"
    NO_CUSTOMER = "invoice without a customer"
    NEGATIVE_QUANTITY = "negative quantity"
    ZERO_PRICE = "price of zero"
    UNKNOWN_STOCK_CODE = "unknown stock code"


INVALID_DATA = frozenset(
    {
        RequestKind.NO_CUSTOMER,
        RequestKind.NEGATIVE_QUANTITY,
        RequestKind.ZERO_PRICE,
        RequestKind.UNKNOWN_STOCK_CODE,
    }
)
"""Requests that must get an error response."""
EXPECTED_ERRORS: dict[RequestKind, frozenset[str]] = {
    RequestKind.ORDER: frozenset({"out_of_stock"}),
    # The order may have been rejected because it exceeded the customer's credit limit.
    RequestKind.CANCELLATION: frozenset({"transition_not_allowed"}),
    RequestKind.SHIPMENT: frozenset(),
    RequestKind.DELIVERY: frozenset(),
    RequestKind.REFUND: frozenset(),
    RequestKind.NO_CUSTOMER: frozenset({"token_missing"}),
    RequestKind.NEGATIVE_QUANTITY: frozenset({"validation_failed"}),
    RequestKind.ZERO_PRICE: frozenset({"validation_failed"}),
    # Some of these codes are not even valid as a sku.
    RequestKind.UNKNOWN_STOCK_CODE: frozenset({"product_unavailable", "validation_failed"}),
}
"""The error codes that each kind of request may get."""


@dataclass(frozen=True)
class PlacedOrder:
    """An order that the API accepted."""

    id: str
    account: Account
    stock_codes: frozenset[str]
    sent_at: datetime
    """The time at which the first try of the request began."""


@dataclass
class RequestLog:
    """Grows with every answer."""

    orders: list[PlacedOrder] = field(default_factory=list)
    errors: Counter[tuple[RequestKind, str]] = field(default_factory=Counter)
    """Counts error responses by the kind of the request, and their status and code."""
    unexpected: list[str] = field(default_factory=list)
    """A sentence for each response that the data do not explain."""

    def record(self, kind: RequestKind, answer: Answer, *, subject: str) -> bool:
        """Count an answer, and return whether it is a success. `subject`: the invoice or order of the request."""
        if answer.is_success:
            if kind in INVALID_DATA:
                self.unexpected.append(f"{subject} ({kind}): got {answer.status}, expected {_expected(kind)}")
            return True
        self.errors[kind, f"{answer.status} {answer.code}"] += 1
        if answer.code not in EXPECTED_ERRORS[kind]:
            self.unexpected.append(f"{subject} ({kind}): got {answer.status} {answer.code}, expected {_expected(kind)}")
        return False


def _expected(kind: RequestKind) -> str:
    return " or ".join([*([] if kind in INVALID_DATA else ["success"]), *sorted(EXPECTED_ERRORS[kind])])
