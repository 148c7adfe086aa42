"""The page *Logs*, and the API behind it."""

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import HTMLResponse

from deploy.console.access.operator import OperatorDep
from deploy.console.dependencies import NonEmpty, SettingsDep, TelemetryDep
from deploy.console.logs.lines import LogFilter, parse_search
from deploy.console.logs.queries import DEFAULT_LINES, MAX_LINES, log_page
from deploy.console.logs.schemas import Level, LogPage
from deploy.console.page_route import PageRoute
from deploy.console.screen import ScreenDep
from deploy.console.telemetry.records import LEVELS

router = APIRouter(prefix="/api/v1/logs", tags=["logs"])
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


async def _wanted(
    *,
    process: Annotated[str | None, Query(max_length=200, description="The service, or the name of a log file.")] = None,
    level: Annotated[Annotated[Level | None, NonEmpty], Query(description="The lowest level to return.")] = None,
    event: Annotated[
        str | None, Query(max_length=200, description="The name of the event, such as `order_placed`.")
    ] = None,
    trace_id: Annotated[str | None, Query(max_length=64, description="The id of a trace, in hexadecimal.")] = None,
    search: Annotated[
        str | None,
        Query(
            max_length=500,
            description="Words that the line contains, and keywords with their value: `order_id=0199... timeout`."
            ' Quotes hold words together: `error="connection lost"`.',
        ),
    ] = None,
    since: Annotated[
        Annotated[datetime | None, NonEmpty],
        Query(description="Return lines of this time or later; UTC by default."),
    ] = None,
    until: Annotated[
        Annotated[datetime | None, NonEmpty], Query(description="Return lines before this time; UTC by default.")
    ] = None,
) -> LogFilter:
    keywords, words = parse_search(search or "")
    return LogFilter(
        process=process or None,
        min_level=level,
        event=event or None,
        trace_id=(trace_id or "").lower() or None,
        since=_in_utc(since),
        until=_in_utc(until),
        keywords=keywords,
        words=words,
    )


WantedDep = Annotated[LogFilter, Depends(_wanted)]
Cursor = Annotated[
    str | None, Query(max_length=4_000, description="The `cursor` of an earlier page: return only what came after it.")
]


@router.get("", summary="Read the logs")
async def read_logs(
    _operator: OperatorDep,
    settings: SettingsDep,
    telemetry: TelemetryDep,
    wanted: WantedDep,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LINES, description="The maximum number of lines.")] = DEFAULT_LINES,
) -> LogPage:
    """Return the newest log lines that match all filters, the newest last.

    To follow the logs, repeat the request with the `cursor` of the last response.
    """
    return await log_page(telemetry, settings.logs_folder, wanted, limit=limit, cursor=cursor)


@pages.get("/logs")
async def logs_page(
    request: Request,
    *,
    screen: ScreenDep,
    telemetry: TelemetryDep,
    wanted: WantedDep,
    cursor: Cursor = None,
) -> HTMLResponse:
    """Show the newest lines that match. The script follows the link to newer ones, and adds them."""
    found = await log_page(telemetry, screen.settings.logs_folder, wanted, cursor=cursor)
    given = {name: value for name, value in request.query_params.items() if value and name != "cursor"}
    older = {**given, "until": found.items[0].at.isoformat()} if found.items else given
    return screen.show(
        "logs.html",
        place="/logs",
        logs=found,
        given=given,
        levels=LEVELS,
        newer_url=f"/logs?{urlencode({**given, 'cursor': found.cursor})}",
        older_url=f"/logs?{urlencode(older)}" if found.has_more else None,
    )
