"""The page *Break it*, and the API behind it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse

from deploy.console.access.operator import OperatorDep
from deploy.console.break_it.forms import fields_of, parameters_of
from deploy.console.break_it.load import LoadRunner, LoadRuns
from deploy.console.break_it.queries import break_it_state
from deploy.console.break_it.schemas import BreakItView, ComparisonStart, FaultInjection, LoadStart, LoadView
from deploy.console.dependencies import ObserverDep, SettingsDep
from deploy.console.local_control import ControlDep, ControlRefused, LocalOnly, answered
from deploy.console.page_route import PageRoute
from deploy.console.screen import ScreenDep
from deploy.local.control_protocol import ComparisonStatus, FaultReport, WrongBuild
from shared.http.problems import responses

PLACE = "/break-it"
router = APIRouter(prefix="/api/v1/break-it", tags=["break it"], responses=responses(LocalOnly, ControlRefused))
pages = APIRouter(prefix=PLACE, include_in_schema=False, route_class=PageRoute)


async def _load_runner(request: Request, _control: ControlDep) -> LoadRunner:
    load: LoadRunner = request.app.state.load
    return load


LoadDep = Annotated[LoadRunner, Depends(_load_runner)]


@router.get("", summary="Read the faults, the comparison and the invariants")
async def read_break_it(
    _operator: OperatorDep, control: ControlDep, observer: ObserverDep, settings: SettingsDep, load: LoadDep
) -> BreakItView:
    """Return the faults that can be injected, those that were, the comparison of builds, rates and invariants."""
    return await break_it_state(control, observer, settings, load)


@router.post("/faults/{fault}", summary="Inject a fault")
async def inject_fault(fault: str, body: FaultInjection, _operator: OperatorDep, control: ControlDep) -> FaultReport:
    """Inject a fault, and return what it did and how to see that it is over."""
    return await answered(control.fault(fault, **body.parameters))


@router.post("/comparison", summary="Start a wrong build")
async def start_comparison(body: ComparisonStart, _operator: OperatorDep, control: ControlDep) -> ComparisonStatus:
    """Start a deliberately wrong build beside the right one, with the same load and the same faults."""
    options = body.model_dump(exclude={"build"})
    return await answered(control.start_comparison(body.build, **options))


@router.delete("/comparison", summary="Stop the wrong build")
async def stop_comparison(_operator: OperatorDep, control: ControlDep) -> ComparisonStatus:
    """Stop the wrong build and drop its data; return the last counts."""
    return await answered(control.stop_comparison())


@router.post("/load", summary="Start a load", responses=responses(LoadRuns))
async def start_load(body: LoadStart, _operator: OperatorDep, load: LoadDep) -> LoadView:
    """Send the orders of real baskets to the local system. The first load of a system makes its accounts."""
    return await load.start(body)


@router.delete("/load", summary="Stop the load")
async def stop_load(_operator: OperatorDep, load: LoadDep) -> LoadView:
    """End the load once the orders that it has placed are decided, and return its summary."""
    return await load.stop()


@pages.get("")
async def break_it_page(screen: ScreenDep, control: ControlDep, observer: ObserverDep, load: LoadDep) -> HTMLResponse:
    """Show the buttons, and beside them whether the invariants hold."""
    found = await break_it_state(control, observer, screen.settings, load)
    return screen.show("break_it.html", place=PLACE, found=found, fields_of=fields_of)


@pages.post("/faults/{fault}")
async def handle_fault(request: Request, fault: str, _operator: OperatorDep, control: ControlDep) -> RedirectResponse:
    """Inject a fault with the parameters of the form."""
    descriptions = {each.name: each for each in await answered(control.faults())}
    if fault not in descriptions:
        raise ControlRefused(f"There is no button {fault}.")
    async with request.form() as form:
        parameters = parameters_of(descriptions[fault], {name: str(value) for name, value in form.items()})
    await answered(control.fault(fault, **parameters))
    return RedirectResponse(f"{PLACE}#reports", 303)


@pages.post("/comparison")
async def handle_comparison(
    _operator: OperatorDep, control: ControlDep, *, build: Annotated[WrongBuild | None, Form()] = None
) -> RedirectResponse:
    """Start a wrong build, or stop it if the field is empty."""
    await answered(control.stop_comparison() if build is None else control.start_comparison(build))
    return RedirectResponse(f"{PLACE}#comparison", 303)


@pages.post("/load")
async def handle_load(
    _operator: OperatorDep,
    load: LoadDep,
    *,
    action: Annotated[Literal["start", "stop"], Form()],
    orders_per_second: Annotated[float, Form(gt=0, le=50)] = 3,
    seconds: Annotated[float, Form(ge=1, le=3600)] = 120,
) -> RedirectResponse:
    """Start or stop a load."""
    if action == "start":
        await load.start(LoadStart(orders_per_second=orders_per_second, seconds=seconds))
    else:
        await load.stop()
    return RedirectResponse(f"{PLACE}#load", 303)
