"""Reads of the page *Where is my order?*: the orders service returns the journey, and the console finds the order."""

from typing import Any
from urllib.parse import quote

from deploy.console.access.operator import Operator
from deploy.console.journey.schemas import OrderSummaryView, OrdersView, SearchView
from deploy.console.services import Services
from shared.errors import NotFound

MAX_ORDERS = 50


class UserNotFound(NotFound):
    """There is no user with this e-mail address."""

    code = "user_not_found"


async def search(services: Services, operator: Operator, query: str) -> SearchView:
    """Find an order by its number, its id, the id of an event, or the customer's e-mail address.

    Without a query, return the latest orders. Raises: UserNotFound, Problem.
    """
    query = query.strip()
    if not query:
        return SearchView(journey=None, orders=await _orders(services, operator, user=None))
    if "@" in query:
        orders = await _orders(services, operator, user=await _user(services, operator, email=query))
        return SearchView(journey=None, orders=orders)
    return SearchView(journey=await journey(services, operator, query), orders=None)


async def journey(services: Services, operator: Operator, reference: str) -> dict[str, Any]:
    """Return the journey of the order with this number, id, or id of one of its events. Raises: Problem."""
    path = f"/v1/orders/{quote(reference, safe='')}/journey"
    found: dict[str, Any] = await services.get("orders", path, token=operator.token)
    return found


async def _orders(services: Services, operator: Operator, *, user: dict[str, Any] | None) -> OrdersView:
    user_id = user["id"] if user is not None else None
    found = await services.get("orders", "/v1/orders", token=operator.token, user_id=user_id, limit=MAX_ORDERS)
    return OrdersView(user=user, items=[OrderSummaryView.model_validate(item) for item in found["items"]])


async def _user(services: Services, operator: Operator, *, email: str) -> dict[str, Any]:
    found = await services.get("users", "/v1/users", token=operator.token, email=email, limit=1)
    if not found["items"]:
        raise UserNotFound
    user: dict[str, Any] = found["items"][0]
    return user
