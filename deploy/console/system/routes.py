"""The page *System*, and the API behind it."""

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from deploy.console.access.operator import OperatorDep
from deploy.console.dependencies import ObserverDep
from deploy.console.page_route import PageRoute
from deploy.console.screen import ScreenDep
from deploy.console.system.queries import system_state
from deploy.console.system.schemas import SystemView

router = APIRouter(prefix="/api/v1/system", tags=["system"])
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("", summary="Read the state of the system")
async def read_system(_operator: OperatorDep, observer: ObserverDep) -> SystemView:
    """Return each service with its health and what has changed."""
    return system_state(observer)


@pages.get("/")
async def system_page(screen: ScreenDep, observer: ObserverDep) -> HTMLResponse:
    """Show the state of the system."""
    return screen.show("system.html", place="/", system=system_state(observer))
