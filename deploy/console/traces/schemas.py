"""Response bodies of the pages of traces and their API."""

from datetime import datetime
from typing import Any

from deploy.console.logs.schemas import LogLineView
from shared.http.bodies import ResponseBody


class TraceSummaryView(ResponseBody):
    """A trace in the list."""

    trace_id: str
    name: str
    """The name of its root, or of its earliest span if the root is not here."""
    service: str
    started_at: datetime
    duration_ms: float
    spans: int
    failed_spans: int
    services: list[str]


class TraceList(ResponseBody):
    """The latest traces that match, the newest first."""

    items: list[TraceSummaryView]
    next_cursor: str | None
    """Pass it as `cursor` to get older traces; null if there are none."""
    services: list[str]
    """All services that have sent spans."""


class SpanEventView(ResponseBody):
    """Something that happened at a moment of a span, such as an exception."""

    name: str
    at: datetime
    attributes: dict[str, Any]


class SpanReferenceView(ResponseBody):
    """A span of another trace."""

    trace_id: str
    span_id: str
    service: str | None
    """Null, like the name, if only the link was received."""
    name: str | None


class SpanView(ResponseBody):
    """A span with its place in the waterfall."""

    span_id: str
    parent_id: str | None
    depth: int
    """0 for a root."""
    is_detached: bool
    """Whether the span has a parent that was not received, or not yet."""
    service: str
    instance: str | None
    name: str
    kind: str
    started_at: datetime
    offset_ms: float
    """Time from the start of the trace."""
    duration_ms: float
    has_failed: bool
    status_message: str | None
    attributes: dict[str, Any]
    events: list[SpanEventView]
    links: list[SpanReferenceView]
    """Spans to which this one links, such as those of the events in a batch."""
    linked_from: list[SpanReferenceView]
    """Spans of other traces that link to this one, such as that of a batch."""


class TraceView(ResponseBody):
    """A trace: its spans, each after its parent, and the log lines of the services that took part."""

    trace_id: str
    started_at: datetime
    duration_ms: float
    services: list[str]
    failed_spans: int
    spans: list[SpanView]
    is_complete: bool
    """Whether all spans that were received are here: there is a maximum."""
    logs: list[LogLineView]
