"""Reads of the pages of traces."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from deploy.console.logs.queries import lines_of_trace
from deploy.console.telemetry.store import TelemetryStore
from deploy.console.traces.schemas import SpanView, TraceList, TraceSummaryView, TraceView
from deploy.console.traces.spans import MAX_SPANS, moment, spans_of_trace
from deploy.console.traces.waterfall import Waterfall, WaterfallRow, waterfall
from shared.errors import NotFound

DEFAULT_TRACES = 50
MAX_TRACES = 200
_SELECT = """
SELECT trace_id, started_ns, ended_ns, spans, failed_spans, name, service,
       (SELECT json_group_array(DISTINCT spans.service) FROM spans WHERE spans.trace_id = traces.trace_id)
FROM traces
"""
_HAS_SPAN = """EXISTS (
    SELECT 1 FROM spans
    WHERE spans.trace_id = traces.trace_id
    AND spans.service = coalesce(?, spans.service) AND instr(lower(spans.name), lower(?)) > 0
)"""


class TraceNotFound(NotFound):
    """The console has no spans of this trace. It keeps those of the last hour, if the services export them."""

    code = "trace_not_found"


@dataclass(frozen=True, kw_only=True)
class TraceFilter:
    """The conditions of the traces to list. Every condition must hold; None always does."""

    service: str | None = None
    """A service with a span in the trace."""
    name: str | None = None
    """Text in the name of a span, of that service if both are given; case does not matter."""
    min_duration_ms: float | None = None
    has_failed: bool = False
    """Whether to list only traces with a span that failed."""
    before_ns: int | None = None
    """The time before which the trace has started, in nanoseconds since the epoch."""


async def latest_traces(telemetry: TelemetryStore, wanted: TraceFilter, *, limit: int = DEFAULT_TRACES) -> TraceList:
    """Return the latest traces that match. Raises: SearchTooSlow, TelemetryUnavailable."""
    rows, services = await telemetry.read(
        lambda connection: (_matching(connection, wanted, limit=limit + 1), _services(connection))
    )
    shown = rows[:limit]
    return TraceList(
        items=[_summary(row) for row in shown],
        next_cursor=str(shown[-1][1]) if len(rows) > limit else None,
        services=services,
    )


async def trace_waterfall(telemetry: TelemetryStore, trace_id: str) -> Waterfall | None:
    """Return the waterfall of a trace; None if the console has no spans of it."""
    return waterfall(await telemetry.read(lambda connection: spans_of_trace(connection, trace_id)))


async def trace_view(telemetry: TelemetryStore, trace_id: str) -> TraceView:
    """Return a trace with its logs. Raises: TraceNotFound, SearchTooSlow, TelemetryUnavailable."""
    drawn = await trace_waterfall(telemetry, trace_id)
    if drawn is None:
        raise TraceNotFound
    return TraceView(
        trace_id=trace_id,
        started_at=drawn.started_at,
        duration_ms=drawn.duration_ms,
        services=drawn.services,
        failed_spans=drawn.failed_spans,
        spans=[_span_view(row) for row in drawn.rows],
        is_complete=is_complete(drawn),
        logs=await lines_of_trace(telemetry, trace_id),
    )


def is_complete(drawn: Waterfall) -> bool:
    """Return whether a waterfall has all spans that were received."""
    return len(drawn.rows) < MAX_SPANS


def _matching(connection: sqlite3.Connection, wanted: TraceFilter, *, limit: int) -> list[tuple[Any, ...]]:
    conditions, values = ["TRUE"], list[Any]()
    for condition, *compared in _conditions(wanted):
        conditions.append(condition)
        values.extend(compared)
    sql = f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY started_ns DESC LIMIT ?"
    return connection.execute(sql, (*values, limit)).fetchall()


def _conditions(wanted: TraceFilter) -> Iterator[tuple[Any, ...]]:
    """Yield conditions, each with the values of its placeholders."""
    if wanted.before_ns is not None:
        yield "started_ns < ?", wanted.before_ns
    if wanted.min_duration_ms is not None:
        yield "ended_ns - started_ns >= ?", wanted.min_duration_ms * 1e6
    if wanted.has_failed:
        yield ("failed_spans > 0",)
    if wanted.service is not None or wanted.name is not None:
        yield _HAS_SPAN, wanted.service, wanted.name or ""


def _services(connection: sqlite3.Connection) -> list[str]:
    return [service for (service,) in connection.execute("SELECT DISTINCT service FROM spans ORDER BY service")]


def _summary(row: Sequence[Any]) -> TraceSummaryView:
    trace_id, started_ns, ended_ns, spans, failed_spans, name, service, services = row
    return TraceSummaryView(
        trace_id=trace_id.hex(),
        name=name,
        service=service,
        started_at=moment(started_ns),
        duration_ms=(ended_ns - started_ns) / 1e6,
        spans=spans,
        failed_spans=failed_spans,
        services=sorted(orjson.loads(services)),
    )


def _span_view(row: WaterfallRow) -> SpanView:
    span = row.span
    return SpanView.model_validate(
        {
            **vars(span),
            "depth": row.depth,
            "is_detached": row.is_detached,
            "started_at": moment(span.started_ns),
            "offset_ms": row.offset_ms,
            "duration_ms": row.duration_ms,
        },
        from_attributes=True,
    )
