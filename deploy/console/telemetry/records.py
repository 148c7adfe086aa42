"""Spans and log records as the store keeps them. The fields are in the order of the tables' columns."""

from typing import NamedTuple

LEVELS = ("trace", "debug", "info", "warning", "error", "critical")
"""The levels of log records, from the least to the most severe."""
KINDS = ("internal", "internal", "server", "client", "producer", "consumer")
"""The kinds of spans by their number in OTLP, which has two for internal ones: unspecified, and internal."""


class SpanRecord(NamedTuple):
    """A finished span."""

    trace_id: bytes
    span_id: bytes
    parent_id: bytes | None
    service: str
    instance: str | None
    name: str
    kind: str
    started_ns: int
    """Time since the epoch in nanoseconds, by the clock of the service."""
    duration_ns: int
    has_failed: bool
    status_message: str | None
    attributes: str
    """A JSON object."""
    events: str
    """A JSON array of objects with `name`, `at_ns` and `attributes`."""


class SpanLink(NamedTuple):
    """A link of a span to one that may belong to another trace, such as from a batch to each of its events."""

    trace_id: bytes
    span_id: bytes


class ReceivedSpan(NamedTuple):
    """A span with its links, which the store keeps in a table of their own."""

    span: SpanRecord
    links: tuple[SpanLink, ...]


class LogRecord(NamedTuple):
    """A structured log line."""

    at_ns: int
    """Time since the epoch in nanoseconds, by the clock of the service."""
    level: int
    """The index in `LEVELS`."""
    service: str
    instance: str | None
    logger: str | None
    event: str
    trace_id: bytes | None
    span_id: bytes | None
    fields: str
    """A JSON object: the line's keywords."""
