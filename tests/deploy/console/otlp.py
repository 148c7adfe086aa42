"""Builders of export requests, as OpenTelemetry's exporters send them."""

import hashlib
from collections.abc import Sequence
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

SECOND = 1_000_000_000
START = 1_790_000_000 * SECOND
"""The time of spans and log records: 2026-09-21 14:13:20 UTC."""


def trace_id(name: str) -> bytes:
    """Return the id of a trace with a name."""
    return hashlib.sha256(name.encode()).digest()[:16]


def span_id(name: str) -> bytes:
    """Return the id of a span with a name."""
    return hashlib.sha256(name.encode()).digest()[:8]


def span(
    name: str,
    *,
    trace: str = "order",
    parent: str | None = None,
    at_ms: float = 0,
    for_ms: float = 1,
    kind: str = "INTERNAL",
    error: str | None = None,
    links: Sequence[tuple[str, str]] = (),
    **attributes: Any,
) -> Span:
    """Build a span, whose id comes from its name. `links` are pairs of a trace's and a span's name."""
    started = START + int(at_ms * 1_000_000)
    built = Span(
        trace_id=trace_id(trace),
        span_id=span_id(name),
        parent_span_id=span_id(parent) if parent else b"",
        name=name,
        kind=Span.SpanKind.Value(f"SPAN_KIND_{kind}"),
        start_time_unix_nano=started,
        end_time_unix_nano=started + int(for_ms * 1_000_000),
        attributes=keywords(attributes),
        links=[Span.Link(trace_id=trace_id(trace), span_id=span_id(linked)) for trace, linked in links],
    )
    if error is not None:
        built.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=error))
    return built


def spans_of(service: str, *spans: Span, instance: str = "one") -> ExportTraceServiceRequest:
    """Build the export request of one process of a service."""
    request = ExportTraceServiceRequest()
    sent = request.resource_spans.add()
    sent.resource.attributes.extend(keywords({"service.name": service, "service.instance.id": instance}))
    sent.scope_spans.add().spans.extend(spans)
    return request


def log_record(
    event: str, *, at_ms: float = 0, severity: int = 9, trace: str | None = None, **fields: Any
) -> LogRecord:
    """Build a log record; a severity of 9 is that of level info, 13 of warning, 17 of error."""
    return LogRecord(
        time_unix_nano=START + int(at_ms * 1_000_000),
        severity_number=severity,  # type: ignore[arg-type]  # mypy knows its names only
        body=AnyValue(string_value=event),
        trace_id=trace_id(trace) if trace else b"",
        attributes=keywords(fields),
    )


def logs_of(
    service: str, *records: LogRecord, instance: str = "one", logger: str = "services"
) -> ExportLogsServiceRequest:
    """Build the export request of one process of a service."""
    request = ExportLogsServiceRequest()
    sent = request.resource_logs.add()
    sent.resource.attributes.extend(keywords({"service.name": service, "service.instance.id": instance}))
    scope = sent.scope_logs.add()
    scope.scope.name = logger
    scope.log_records.extend(records)
    return request


def keywords(values: dict[str, Any]) -> list[KeyValue]:
    """Build attributes."""
    return [KeyValue(key=name, value=any_value(value)) for name, value in values.items()]


def any_value(value: Any) -> AnyValue:
    """Build a value of any type that OTLP has."""
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=map(any_value, value)))
    if isinstance(value, dict):
        return AnyValue(kvlist_value=KeyValueList(values=keywords(value)))
    field = {str: "string_value", int: "int_value", float: "double_value", bytes: "bytes_value"}[type(value)]
    return AnyValue(**{field: value})
