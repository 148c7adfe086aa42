"""Response bodies of the page *Where is my order?* and its API."""

from typing import Any

from shared.http.bodies import ResponseBody


class OrderSummaryView(ResponseBody):
    """An order in a list."""

    id: str
    number: str
    status: str
    total_cents: int
    currency: str
    created_at: str


class OrdersView(ResponseBody):
    """Orders, newest first."""

    user: dict[str, Any] | None
    """The user whose orders they are; null for the orders of all users."""
    items: list[OrderSummaryView]


class SearchView(ResponseBody):
    """The answer to a search: the journey of one order, or the orders to choose from."""

    journey: dict[str, Any] | None
    """The answer of the orders service to `GET /v1/orders/{reference}/journey`."""
    orders: OrdersView | None
