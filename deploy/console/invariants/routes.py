"""The page *Invariants*, and the API behind it."""

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from deploy.console.access.operator import OperatorDep
from deploy.console.dependencies import SettingsDep
from deploy.console.invariants.queries import invariants
from deploy.console.invariants.schemas import InvariantsView
from deploy.console.page_route import PageRoute
from deploy.console.screen import ScreenDep

router = APIRouter(prefix="/api/v1/invariants", tags=["invariants"])
pages = APIRouter(prefix="/invariants", include_in_schema=False, route_class=PageRoute)


@router.get("", summary="Read the invariants")
async def read_invariants(_operator: OperatorDep, settings: SettingsDep) -> InvariantsView:
    """Return each invariant with what the last run of the audit found to contradict it."""
    return await invariants(settings)


@pages.get("")
async def invariants_page(screen: ScreenDep) -> HTMLResponse:
    """Show the invariants, green or with what contradicts them."""
    return screen.show("invariants.html", place="/invariants", found=await invariants(screen.settings))
