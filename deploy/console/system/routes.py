"""The page *System*, and the API behind it."""

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.responses import HTMLResponse, RedirectResponse

from deploy.console.access.operator import OperatorDep
from deploy.console.dependencies import ObserverDep
from deploy.console.local_control import ControlDep, ControlRefused, LocalOnly, OptionalControlDep, answered, begun
from deploy.console.page_route import PageRoute
from deploy.console.screen import ScreenDep
from deploy.console.system.commands import process_request
from deploy.console.system.queries import system_state
from deploy.console.system.schemas import Action, ProcessAction, ProcessView, SystemView
from shared.http.problems import responses

router = APIRouter(prefix="/api/v1/system", tags=["system"])
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("", summary="Read the state of the system")
async def read_system(_operator: OperatorDep, observer: ObserverDep, control: OptionalControlDep) -> SystemView:
    """Return each service with its health and what has changed, and the processes of `make run`."""
    return await system_state(observer, control)


@router.post("/processes/{name}/actions", summary="Act on a process", responses=responses(LocalOnly, ControlRefused))
async def act_on_process(name: str, body: ProcessAction, _operator: OperatorDep, control: ControlDep) -> ProcessView:
    """Start, stop, restart, kill, suspend or resume a process of `make run`, and return its state afterwards."""
    return ProcessView.model_validate(await answered(process_request(control, name, body)))


@pages.get("/")
async def system_page(screen: ScreenDep, observer: ObserverDep, control: OptionalControlDep) -> HTMLResponse:
    """Show the state of the system."""
    return screen.show("system.html", place="/", system=await system_state(observer, control))


@pages.post("/processes/{name}")
async def handle_process(
    name: str, _operator: OperatorDep, control: ControlDep, action: Annotated[Action, Form()]
) -> RedirectResponse:
    """Begin an action on a process. The page shows how it goes on."""
    await begun(process_request(control, name, ProcessAction(action=action)))
    return RedirectResponse("/#processes", 303)
