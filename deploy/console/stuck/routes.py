"""The page *Stuck*, and the API behind it."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form
from starlette.responses import HTMLResponse, RedirectResponse

from deploy.console.access.operator import OperatorDep
from deploy.console.dependencies import ServicesDep
from deploy.console.page_route import PageRoute
from deploy.console.screen import ScreenDep
from deploy.console.settings import ServiceName
from deploy.console.stuck.commands import act_on_jobs, resend_delivery
from deploy.console.stuck.queries import stuck_things
from deploy.console.stuck.schemas import DeliveryResend, JobAction, StuckView

PLACE = "/stuck"
router = APIRouter(prefix="/api/v1/stuck", tags=["stuck"])
pages = APIRouter(prefix=PLACE, include_in_schema=False, route_class=PageRoute)

Note = Annotated[str, Form(min_length=1, max_length=500)]


@router.get("", summary="Read what is stuck")
async def read_stuck(operator: OperatorDep, services: ServicesDep) -> StuckView:
    """Return the orders, deliveries, jobs and schedules that do not proceed, with reasons and what helps."""
    return await stuck_things(services, operator)


@router.post("/jobs/{service}/actions", summary="Retry or discard held jobs")
async def act_on_held_jobs(
    service: ServiceName, body: JobAction, operator: OperatorDep, services: ServicesDep
) -> dict[str, int]:
    """Let held jobs run again, or give them up. The service records who did it, and the note."""
    return {"jobs": await act_on_jobs(services, operator, service, body)}


@router.post("/deliveries/resends", summary="Resend a delivery")
async def resend_stuck_delivery(body: DeliveryResend, operator: OperatorDep, services: ServicesDep) -> dict[str, Any]:
    """Make a delivery due now that has failed or waits for a retry."""
    return await resend_delivery(services, operator, body)


@pages.get("")
async def stuck_page(screen: ScreenDep, services: ServicesDep) -> HTMLResponse:
    """Show what is stuck."""
    return screen.show("stuck.html", place=PLACE, found=await stuck_things(services, screen.operator))


@pages.post("/jobs/{service}/{job_id}")
async def handle_job(
    service: ServiceName,
    job_id: int,
    screen: ScreenDep,
    services: ServicesDep,
    *,
    action: Annotated[Literal["retry", "discard"], Form()],
    note: Note,
) -> RedirectResponse:
    """Retry or discard one held job."""
    await act_on_jobs(services, screen.operator, service, JobAction(action=action, ids=(job_id,), note=note))
    return RedirectResponse(PLACE, 303)


@pages.post("/deliveries/{delivery_id}")
async def handle_delivery(
    delivery_id: str, screen: ScreenDep, services: ServicesDep, *, note: Note
) -> RedirectResponse:
    """Resend one delivery."""
    await resend_delivery(services, screen.operator, DeliveryResend(delivery_id=delivery_id, note=note))
    return RedirectResponse(PLACE, 303)
