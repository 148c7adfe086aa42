"""Spans that a test records in memory."""

from typing import Any, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, format_span_id


class RecordedSpan(NamedTuple):
    """A span that has ended."""

    name: str
    parent: str
    """The name of the parent, or its id if it is not recorded here; empty for a root."""
    attributes: dict[str, Any]
    links: list[str]
    """The names of the spans that it is linked with."""
    events: list[str]
    error: str | None
    """The description of its error, if it has failed."""


class RecordedSpans:
    """A tracer, and the spans that it has recorded."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("test")

    def all(self) -> list[RecordedSpan]:
        """Return the spans in the order of their ends."""
        spans = self._exporter.get_finished_spans()
        names = {_id(one): one.name for one in spans}

        def name_of(span_id: int) -> str:
            return names.get(span_id, format_span_id(span_id))

        return [
            RecordedSpan(
                name=one.name,
                parent=name_of(one.parent.span_id) if one.parent else "",
                attributes=dict(one.attributes or {}),
                links=[name_of(link.context.span_id) for link in one.links],
                events=[event.name for event in one.events],
                error=one.status.description if one.status.status_code is StatusCode.ERROR else None,
            )
            for one in spans
        ]

    def named(self, name: str) -> list[RecordedSpan]:
        """Return the spans of this name."""
        return [one for one in self.all() if one.name == name]


def _id(one: ReadableSpan) -> int:
    assert one.context is not None
    span_id: int = one.context.span_id
    return span_id
