"""The page *Where is my order?*, and the API behind it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse, RedirectResponse, Response

from deploy.console.access.operator import OperatorDep
from deploy.console.dependencies import ServicesDep, TelemetryDep
from deploy.console.journey.queries import UserNotFound, journey, search
from deploy.console.journey.schemas import SearchView
from deploy.console.page_route import PageRoute
from deploy.console.screen import ScreenDep
from deploy.console.traces.queries import trace_waterfall
from shared.errors import Problem
from shared.http.problems import responses

router = APIRouter(prefix="/api/v1/orders", tags=["orders"])
pages = APIRouter(prefix="/orders", include_in_schema=False, route_class=PageRoute)

SearchText = Annotated[
    str, Query(max_length=320, description="An order's number or id, an event's id, or a customer's e-mail address.")
]


@router.get("", summary="Find an order", responses=responses(UserNotFound))
async def find_orders(operator: OperatorDep, services: ServicesDep, query: SearchText = "") -> SearchView:
    """Return the journey of the order, or the customer's orders; without a query, the latest orders."""
    return await search(services, operator, query)


@router.get("/{reference}/journey", summary="Read an order's journey")
async def read_journey(reference: str, operator: OperatorDep, services: ServicesDep) -> dict[str, Any]:
    """Return the timeline over all services, the cause if the order is stuck, and what helps."""
    return await journey(services, operator, reference)


@pages.get("")
async def orders_page(screen: ScreenDep, services: ServicesDep, query: SearchText = "") -> Response:
    """Show the search, and the orders that it has found. One order leads to its journey."""
    try:
        found = await search(services, screen.operator, query)
    except Problem as problem:
        return _search_page(screen, query, problem=problem)
    if found.journey is not None:
        return RedirectResponse(f"/orders/{found.journey['order_id']}", 303)
    return _search_page(screen, query, found=found)


@pages.get("/{order_id}")
async def journey_page(
    order_id: str, screen: ScreenDep, services: ServicesDep, telemetry: TelemetryDep
) -> HTMLResponse:
    """Show the journey of an order, and the trace of the request that placed it."""
    found = await journey(services, screen.operator, order_id)
    trace_id = found["trace_id"]
    drawn = await trace_waterfall(telemetry, trace_id) if trace_id is not None else None
    return screen.show("journey.html", place="/orders", journey=found, drawn=drawn)


def _search_page(
    screen: ScreenDep, query: str, *, found: SearchView | None = None, problem: Problem | None = None
) -> HTMLResponse:
    status = problem.status if problem is not None else 200
    return screen.show("orders.html", place="/orders", status=status, query=query, found=found, problem=problem)
