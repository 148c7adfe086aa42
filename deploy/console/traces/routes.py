"""The pages of traces, and the API behind them."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field
from starlette.responses import HTMLResponse

from deploy.console.access.operator import OperatorDep
from deploy.console.dependencies import NonEmpty, TelemetryDep
from deploy.console.logs.queries import lines_of_trace
from deploy.console.page_route import PageRoute
from deploy.console.screen import ScreenDep
from deploy.console.traces.queries import (
    DEFAULT_TRACES,
    MAX_TRACES,
    TraceFilter,
    TraceNotFound,
    is_complete,
    latest_traces,
    trace_view,
    trace_waterfall,
)
from deploy.console.traces.schemas import TraceList, TraceView
from deploy.console.traces.spans import linked_traces

router = APIRouter(prefix="/api/v1/traces", tags=["traces"])
pages = APIRouter(include_in_schema=False, route_class=PageRoute)

Duration = Annotated[float, Field(ge=0, le=1e12)]
TraceId = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="The id of the trace, in hexadecimal.")]


async def _wanted(
    *,
    service: Annotated[str | None, Query(max_length=200, description="A service that has a span in the trace.")] = None,
    name: Annotated[
        str | None,
        Query(max_length=200, description="Text in the name of a span, such as a route; case does not matter."),
    ] = None,
    min_duration_ms: Annotated[
        Annotated[Duration | None, NonEmpty], Query(description="The minimum duration of the trace.")
    ] = None,
    has_failed: Annotated[bool, Query(description="Whether to return only traces with a span that failed.")] = False,
    cursor: Annotated[
        str | None, Query(pattern=r"^\d{1,18}$|^[0-8]\d{18}$", description="The `next_cursor` of the previous page.")
    ] = None,
) -> TraceFilter:
    return TraceFilter(
        service=service or None,
        name=name or None,
        min_duration_ms=min_duration_ms,
        has_failed=has_failed,
        before_ns=int(cursor) if cursor else None,
    )


WantedDep = Annotated[TraceFilter, Depends(_wanted)]


@router.get("", summary="List the latest traces")
async def read_traces(
    _operator: OperatorDep,
    telemetry: TelemetryDep,
    wanted: WantedDep,
    limit: Annotated[int, Query(ge=1, le=MAX_TRACES, description="The maximum number of traces.")] = DEFAULT_TRACES,
) -> TraceList:
    """Return the latest traces that match all filters, the newest first."""
    return await latest_traces(telemetry, wanted, limit=limit)


@router.get("/{trace_id}", summary="Read a trace")
async def read_trace(_operator: OperatorDep, telemetry: TelemetryDep, trace_id: TraceId) -> TraceView:
    """Return the spans of a trace as a tree, with the traces that are linked to it and its log lines.

    The console has what the services sent in the last hour. A trace may still grow.
    """
    return await trace_view(telemetry, trace_id)


@pages.get("/traces")
async def traces_page(request: Request, screen: ScreenDep, telemetry: TelemetryDep, wanted: WantedDep) -> HTMLResponse:
    """Show the latest traces."""
    found = await latest_traces(telemetry, wanted)
    given = {name: value for name, value in request.query_params.items() if value}
    older = {**given, "cursor": found.next_cursor or ""}
    return screen.show(
        "traces.html",
        place="/traces",
        traces=found,
        given=given,
        older_url=f"/traces?{urlencode(older)}" if found.next_cursor else None,
    )


@pages.get("/traces/{trace_id}")
async def trace_page(screen: ScreenDep, telemetry: TelemetryDep, trace_id: TraceId) -> HTMLResponse:
    """Show the waterfall of a trace, and its logs."""
    drawn = await trace_waterfall(telemetry, trace_id)
    if drawn is None:
        raise TraceNotFound
    return screen.show(
        "trace.html",
        place="/traces",
        trace_id=trace_id,
        drawn=drawn,
        is_complete=is_complete(drawn),
        linked=linked_traces(trace_id, (row.span for row in drawn.rows)),
        lines=await lines_of_trace(telemetry, trace_id),
    )
