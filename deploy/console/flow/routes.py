"""The page *Flow*, and the API behind it."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse

from deploy.console.access.operator import OperatorDep
from deploy.console.dependencies import ObserverDep, ServicesDep
from deploy.console.flow.drawing import BOX_HEIGHT, BOX_WIDTH, draw
from deploy.console.flow.queries import TopicNotFound, flow_state, last_events
from deploy.console.flow.schemas import EventsView, FlowView
from deploy.console.page_route import PageRoute
from deploy.console.screen import ScreenDep
from shared.http.problems import responses

router = APIRouter(prefix="/api/v1/flow", tags=["flow"])
pages = APIRouter(prefix="/flow", include_in_schema=False, route_class=PageRoute)

Key = Annotated[str | None, Query(max_length=250, description="Only events with this key, such as an order's id.")]
Cursor = Annotated[str | None, Query(max_length=2_000, description="`next_cursor` of the page before.")]


@router.get("", summary="Read the flow of events")
async def read_flow(operator: OperatorDep, services: ServicesDep, observer: ObserverDep) -> FlowView:
    """Return each topic with its producer and its consumers: rates, waiting events, lag and delays."""
    return await flow_state(services, observer, operator)


@router.get("/topics/{topic}/events", summary="Read a topic's last events", responses=responses(TopicNotFound))
async def read_events(
    topic: str, operator: OperatorDep, services: ServicesDep, *, key: Key = None, cursor: Cursor = None
) -> EventsView:
    """Return the last events that the topic's producer has recorded, newest first."""
    return await last_events(services, operator, topic=topic, key=key, cursor=cursor)


@pages.get("")
async def flow_page(screen: ScreenDep, services: ServicesDep, observer: ObserverDep) -> HTMLResponse:
    """Show the flow as a picture and as tables."""
    flow = await flow_state(services, observer, screen.operator)
    return screen.show("flow.html", place="/flow", flow=flow, drawing=draw(flow), box=(BOX_WIDTH, BOX_HEIGHT))


@pages.get("/{topic}")
async def topic_page(
    topic: str, screen: ScreenDep, services: ServicesDep, *, key: Key = None, cursor: Cursor = None
) -> HTMLResponse:
    """Show the last events of a topic."""
    events = await last_events(services, screen.operator, topic=topic, key=key, cursor=cursor)
    return screen.show("flow_topic.html", place="/flow", events=events, key=key or "")
