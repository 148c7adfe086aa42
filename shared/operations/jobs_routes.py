"""Jobs that do not go on, over HTTP: support and admins list them, admins retry or discard held ones."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.http.auth import Permit
from shared.http.bodies import RequestBody, ResponseBody
from shared.http.dependencies import SessionsDep
from shared.http.idempotency import IdempotencyKey, run_idempotently
from shared.http.pagination import Page, PageParams, page_of
from shared.http.problems import responses
from shared.http.responses import is_repeat, json_response
from shared.http.route_limits import OPERATIONS
from shared.operations.dependencies import AdminCaller, OperationsDep, StaffCaller
from shared.operations.queued_jobs import (
    HeldJob,
    JobAction,
    JobNotFound,
    JobProblem,
    JobView,
    SchedulesView,
    act_on_jobs,
    job_view,
    list_schedules,
    log_acted,
    stuck_jobs,
)
from shared.operations.schemas import MAX_ID, Text

router = APIRouter()


class JobSelection(RequestBody):
    """Held jobs, and why something is done with them."""

    ids: list[Annotated[int, Field(ge=1, le=MAX_ID)]] = Field(min_length=1, max_length=1000, examples=[[17]])
    note: Annotated[Text, Field(min_length=1, description="Reason, for the record.", examples=["stock corrected"])]


class ChangedJobsView(ResponseBody):
    """The number of jobs that were changed."""

    jobs: int = Field(examples=[1])


@router.get("/jobs", summary="List jobs that do not go on")
async def list_jobs(
    request: Request,
    *,
    _caller: StaffCaller,
    sessions: SessionsDep,
    operations: OperationsDep,
    params: PageParams,
    status: Annotated[
        JobProblem,
        Query(description="`failed`: held after their last attempt. `overdue`: due for a minute, and not begun."),
    ] = "failed",
) -> Page[JobView]:
    """Return the jobs that wait for an operator, or for a process that runs them, oldest first."""
    async with sessions() as session:
        view = partial(job_view, operations.service)
        return await page_of(session, stuck_jobs(status), request=request, params=params, map=view)


@router.get("/schedules", summary="List scheduled tasks")
async def read_schedules(*, _caller: StaffCaller, sessions: SessionsDep) -> SchedulesView:
    """Return the scheduled tasks of this service, and for how long each is due."""
    async with sessions() as session:
        return SchedulesView(items=await list_schedules(session))


@router.post(
    "/jobs/retries",
    response_model=ChangedJobsView,
    summary="Retry held jobs",
    dependencies=[Depends(OPERATIONS)],
    responses=responses(JobNotFound),
)
async def retry_jobs(
    body: JobSelection, *, request: Request, caller: AdminCaller, sessions: SessionsDep, key: IdempotencyKey = None
) -> Response:
    """Enqueue held jobs again, with all their attempts."""
    return await _act(body, "retry", request=request, caller=caller, sessions=sessions, key=key)


@router.post(
    "/jobs/discards",
    response_model=ChangedJobsView,
    summary="Discard held jobs",
    dependencies=[Depends(OPERATIONS)],
    responses=responses(JobNotFound),
)
async def discard_jobs(
    body: JobSelection, *, request: Request, caller: AdminCaller, sessions: SessionsDep, key: IdempotencyKey = None
) -> Response:
    """Delete held jobs. Their work is not done."""
    return await _act(body, "discard", request=request, caller=caller, sessions=sessions, key=key)


async def _act(
    body: JobSelection, action: JobAction, *, request: Request, caller: Permit, sessions: Sessions, key: str | None
) -> Response:
    actor, jobs = str(caller.user_id), list[HeldJob]()

    async def act(session: AsyncSession) -> Response:
        jobs[:] = await act_on_jobs(session, body.ids, action=action, actor=actor, note=body.note)
        return json_response(ChangedJobsView(jobs=len(jobs)))

    response = await run_idempotently(
        sessions, request=request, caller_id=caller.user_id, key=key, body=body, action=act
    )
    if not is_repeat(response):
        log_acted(jobs, action=action, actor=actor)
    return response
