"""Reads of spans from the store: those of a trace, with their links in both directions."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

MAX_SPANS = 1_000
"""Spans of a trace that are read: its earliest ones."""
MAX_LINKS = 1_000
"""Links of a trace's spans that are read, in each direction."""
_COLUMNS = (
    "id, span_id, parent_id, service, instance, name, kind, started_ns, duration_ns, has_failed, status_message,"
    " attributes, events"
)


@dataclass(frozen=True)
class SpanReference:
    """A span of another trace, to which a link leads."""

    trace_id: str
    span_id: str
    service: str | None = None
    """None, like the name, if the store has only the link."""
    name: str | None = None


@dataclass(frozen=True)
class SpanEvent:
    """Something that happened at a moment of a span, such as an exception."""

    name: str
    at: datetime
    attributes: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Span:
    """A finished span of a trace."""

    span_id: str
    parent_id: str | None = None
    service: str
    instance: str | None = None
    name: str
    kind: str = "internal"
    started_ns: int
    duration_ns: int
    has_failed: bool = False
    status_message: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    events: list[SpanEvent] = field(default_factory=list)
    links: list[SpanReference] = field(default_factory=list)
    """Spans to which this one links, such as those of the events in a batch."""
    linked_from: list[SpanReference] = field(default_factory=list)
    """Spans of other traces that link to this one."""


def spans_of_trace(connection: sqlite3.Connection, trace_id: str) -> list[Span]:
    """Return the spans of a trace in the order of their start; none if the id is not one."""
    try:
        key = bytes.fromhex(trace_id)
    except ValueError:
        return []
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM spans WHERE trace_id = ? ORDER BY started_ns, id LIMIT ?",  # noqa: S608 - own names
        (key, MAX_SPANS),
    ).fetchall()
    links, linked_from = _links_of(connection, key), _links_to(connection, key)
    return [_span(row, links.get(row[0], []), linked_from.get(row[1], [])) for row in rows]


def linked_traces(trace_id: str, spans: Iterable[Span]) -> list[SpanReference]:
    """Return the spans of other traces that link to a trace's spans or are linked by them, each trace once."""
    traces: dict[str, SpanReference] = {}
    for span in spans:
        for reference in (*span.linked_from, *span.links):
            if reference.trace_id != trace_id:
                traces.setdefault(reference.trace_id, reference)
    return list(traces.values())


def _links_of(connection: sqlite3.Connection, trace_id: bytes) -> dict[int, list[SpanReference]]:
    """Return the links of a trace's spans, by the row of the span."""
    found: dict[int, list[SpanReference]] = defaultdict(list)
    rows = connection.execute(
        "SELECT links.span, links.trace_id, links.span_id, linked.service, linked.name"
        " FROM spans JOIN links ON links.span = spans.id"
        " LEFT JOIN spans AS linked ON linked.trace_id = links.trace_id AND linked.span_id = links.span_id"
        " WHERE spans.trace_id = ? LIMIT ?",
        (trace_id, MAX_LINKS),
    )
    for row, linked_trace, linked_span, service, name in rows:
        found[row].append(SpanReference(linked_trace.hex(), linked_span.hex(), service, name))
    return found


def _links_to(connection: sqlite3.Connection, trace_id: bytes) -> dict[bytes, list[SpanReference]]:
    """Return the spans of other traces that link to a trace, by the id of the linked span."""
    found: dict[bytes, list[SpanReference]] = defaultdict(list)
    rows = connection.execute(
        "SELECT links.span_id, spans.trace_id, spans.span_id, spans.service, spans.name"
        " FROM links JOIN spans ON spans.id = links.span"
        " WHERE links.trace_id = ? AND spans.trace_id != links.trace_id ORDER BY spans.started_ns LIMIT ?",
        (trace_id, MAX_LINKS),
    )
    for linked, linking_trace, linking_span, service, name in rows:
        found[linked].append(SpanReference(linking_trace.hex(), linking_span.hex(), service, name))
    return found


def _span(row: tuple[Any, ...], links: list[SpanReference], linked_from: list[SpanReference]) -> Span:
    (_, span_id, parent_id, service, instance, name, kind, started_ns, duration_ns, has_failed, message, *objects) = row
    attributes, events = map(orjson.loads, objects)
    return Span(
        span_id=span_id.hex(),
        parent_id=parent_id.hex() if parent_id else None,
        service=service,
        instance=instance,
        name=name,
        kind=kind,
        started_ns=started_ns,
        duration_ns=duration_ns,
        has_failed=bool(has_failed),
        status_message=message,
        attributes=attributes,
        events=[SpanEvent(each["name"], moment(each["at_ns"]), each["attributes"]) for each in events],
        links=links,
        linked_from=linked_from,
    )


def moment(ns: int) -> datetime:
    """Return a time in nanoseconds since the epoch as a datetime, which has microseconds."""
    return datetime.fromtimestamp(ns / 1_000_000_000, UTC)
