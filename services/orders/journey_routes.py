"""Routes of journeys, for support and admins: where an order is, and which orders are stuck."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request

from services.orders.journey import Journeys
from services.orders.journey_schemas import JourneyView
from services.orders.order_number import ALPHABET, DIGITS, is_order_number
from services.orders.queries import OrderNotFound
from services.orders.schemas import OrderNumberMistyped
from services.orders.stuck_orders import StuckOrderView, stuck_order_view, stuck_orders
from shared.http.dependencies import SessionsDep
from shared.http.pagination import Page, PageParams, page_of
from shared.http.problems import responses
from shared.operations.dependencies import StaffCaller

router = APIRouter(prefix="/v1/orders", tags=["orders"])
stuck_router = APIRouter(
    prefix="/v1/operations/orders/stuck",
    tags=["operations"],
    # As all routes under /v1/operations.
    generate_unique_id_function=lambda route: f"{route.name}_of_orders",
)

_NUMBER = rf"[Oo]-[{ALPHABET}{ALPHABET.lower()}]{{{DIGITS + 1}}}"
_UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


async def _journeys(request: Request, _sessions: SessionsDep) -> Journeys:
    # They use the service's sessions. Depending on them here declares that the route needs the database.
    journeys: Journeys = request.app.state.journeys
    return journeys


JourneysDep = Annotated[Journeys, Depends(_journeys)]


@router.get(
    "/{reference}/journey",
    summary="Read where an order is",
    responses=responses(OrderNotFound, OrderNumberMistyped),
)
async def read_journey(
    reference: Annotated[
        str,
        Path(
            pattern=f"^({_NUMBER}|{_UUID})$",
            description="The order's id or number, or the id of an event about it, of any service.",
            examples=["O-2K7WQ9X3"],
        ),
    ],
    *,
    request: Request,
    _caller: StaffCaller,
    journeys: JourneysDep,
) -> JourneyView:
    """Return one timeline of an order over all services, and the verdict: whether it is stuck, why, and what helps.

    The timeline has the request, the changes of the order, its events with their places in Kafka and their consumers,
    changes of credit, dead letters and what operators did with them, notifications, and each attempt of a mail.
    The service asks users and notifications with the caller's own access token. A service that does not answer in time
    is reported as `unavailable`, and its part is missing. Events are kept for seven days after they were sent.
    """
    authorization = request.headers["authorization"]
    if reference[1] != "-":
        return await journeys.journey(UUID(reference), authorization=authorization)
    if not is_order_number(reference.upper()):
        raise OrderNumberMistyped
    return await journeys.journey(reference.upper(), authorization=authorization)


@stuck_router.get("", summary="List stuck orders")
async def list_stuck_orders(
    request: Request, *, _caller: StaffCaller, sessions: SessionsDep, params: PageParams
) -> Page[StuckOrderView]:
    """Return the orders that are pending for more than ten seconds, oldest first, with what this service knows."""
    async with sessions() as session:
        return await page_of(session, stuck_orders(), request=request, params=params, map=stuck_order_view)
