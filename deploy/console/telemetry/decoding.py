"""Decoding of OTLP export requests. Only invalid records are rejected, and long values are cut."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import orjson
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from deploy.console.telemetry.records import KINDS, LEVELS, LogRecord, ReceivedSpan, SpanLink, SpanRecord

MAX_TEXT_CHARACTERS = 8_192
"""Longer texts are cut. A stack trace of some 100 lines fits; the services send nothing longer."""
MAX_NAME_CHARACTERS = 200
MAX_ATTRIBUTES = 64
MAX_EVENTS = 32
MAX_LINKS = 2_000
"""Links of a span that are kept. A batch has one for each trace that it joins."""
MAX_DEPTH = 4
"""Depth of nested values that are kept."""
_MAX_TIME_NS = 2**63 - 1
"""The largest integer of SQLite, a time in the year 2262."""
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8
_UNKNOWN = "unknown"
_SERVICE, _INSTANCE = "service.name", "service.instance.id"
_SCALARS = {"bool_value", "int_value", "double_value"}
_LEVEL_NAMES = {"warn": "warning", "fatal": "critical"}

RecordT = TypeVar("RecordT")


class Malformed(ValueError):
    """The body is not the protobuf message that the path takes."""


@dataclass
class Decoded(Generic[RecordT]):
    """The records of an export request, and the number of invalid ones."""

    records: list[RecordT] = field(default_factory=list)
    rejected: int = 0
    reason: str = ""
    """The reason of the last rejection."""


def decode_spans(body: bytes) -> Decoded[ReceivedSpan]:
    """Decode an ExportTraceServiceRequest. Raises: Malformed."""
    request = ExportTraceServiceRequest()
    _parse(request, body)
    decoded: Decoded[ReceivedSpan] = Decoded()
    for resource_spans in request.resource_spans:
        service, instance = _origin(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                if reason := _invalid(span):
                    decoded.rejected += 1
                    decoded.reason = reason
                else:
                    decoded.records.append(_received_span(span, service, instance))
    return decoded


def decode_logs(body: bytes) -> Decoded[LogRecord]:
    """Decode an ExportLogsServiceRequest. Raises: Malformed."""
    request = ExportLogsServiceRequest()
    _parse(request, body)
    decoded: Decoded[LogRecord] = Decoded()
    now_ns = time.time_ns()
    for resource_logs in request.resource_logs:
        service, instance = _origin(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            logger = scope_logs.scope.name[:MAX_NAME_CHARACTERS] or None
            for record in scope_logs.log_records:
                at_ns = record.time_unix_nano or record.observed_time_unix_nano or now_ns
                if at_ns > _MAX_TIME_NS:
                    decoded.rejected += 1
                    decoded.reason = "a time is out of range"
                else:
                    decoded.records.append(_log_record(record, at_ns, service, instance, logger))
    return decoded


def _parse(request: ExportTraceServiceRequest | ExportLogsServiceRequest, body: bytes) -> None:
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise Malformed(f"The body is no {type(request).__name__}.") from error


def _origin(attributes: Iterable[KeyValue]) -> tuple[str, str | None]:
    """Return the service and the instance of a resource."""
    found = {each.key: each.value.string_value for each in attributes if each.key in {_SERVICE, _INSTANCE}}
    service = found.get(_SERVICE) or _UNKNOWN
    return service[:MAX_NAME_CHARACTERS], found.get(_INSTANCE, "")[:MAX_NAME_CHARACTERS] or None


def _invalid(span: trace_pb2.Span) -> str | None:
    """Return what is wrong with a span; None if it is valid."""
    if not _is_id(span.trace_id, _TRACE_ID_BYTES):
        return "a trace_id is invalid"
    if not _is_id(span.span_id, _SPAN_ID_BYTES):
        return "a span_id is invalid"
    if not 0 < span.start_time_unix_nano <= _MAX_TIME_NS or span.end_time_unix_nano > _MAX_TIME_NS:
        return "a time is out of range"
    return None


def _is_id(value: bytes, size: int) -> bool:
    return len(value) == size and any(value)


def _received_span(span: trace_pb2.Span, service: str, instance: str | None) -> ReceivedSpan:
    started_ns = span.start_time_unix_nano
    record = SpanRecord(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_span_id if _is_id(span.parent_span_id, _SPAN_ID_BYTES) else None,
        service=service,
        instance=instance,
        name=span.name[:MAX_NAME_CHARACTERS] or _UNKNOWN,
        kind=KINDS[span.kind] if span.kind < len(KINDS) else KINDS[0],
        started_ns=started_ns,
        duration_ns=max(0, span.end_time_unix_nano - started_ns),
        has_failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        status_message=span.status.message[:MAX_TEXT_CHARACTERS] or None,
        attributes=_json(_object(span.attributes)),
        events=_json([_event(event, started_ns) for event in span.events[:MAX_EVENTS]]) if span.events else "[]",
    )
    return ReceivedSpan(record, tuple(_links(span)))


def _links(span: trace_pb2.Span) -> Iterator[SpanLink]:
    for link in span.links[:MAX_LINKS]:
        if _is_id(link.trace_id, _TRACE_ID_BYTES) and _is_id(link.span_id, _SPAN_ID_BYTES):
            yield SpanLink(link.trace_id, link.span_id)


def _event(event: trace_pb2.Span.Event, started_ns: int) -> dict[str, Any]:
    at_ns = event.time_unix_nano if 0 < event.time_unix_nano <= _MAX_TIME_NS else started_ns
    return {"name": event.name[:MAX_NAME_CHARACTERS], "at_ns": at_ns, "attributes": _object(event.attributes)}


def _log_record(
    record: logs_pb2.LogRecord, at_ns: int, service: str, instance: str | None, logger: str | None
) -> LogRecord:
    fields = _object(record.attributes)
    body = _value(record.body)
    if isinstance(body, dict):
        fields = body | fields
        body = body.get("event")
    event = record.event_name or body or fields.pop("event", None)
    named = fields.pop("logger", None)
    return LogRecord(
        at_ns=at_ns,
        level=_level(record),
        service=service,
        instance=instance,
        logger=named if isinstance(named, str) else logger,
        event=(event if isinstance(event, str) else _json(event))[:MAX_TEXT_CHARACTERS] if event else _UNKNOWN,
        trace_id=record.trace_id if _is_id(record.trace_id, _TRACE_ID_BYTES) else None,
        span_id=record.span_id if _is_id(record.span_id, _SPAN_ID_BYTES) else None,
        fields=_json(fields),
    )


def _level(record: logs_pb2.LogRecord) -> int:
    """Return the index of the level. Numbers 1 to 24 are six levels of four grades; with 0, the text names it."""
    if 0 < record.severity_number <= 4 * len(LEVELS):
        return (record.severity_number - 1) // 4
    name = record.severity_text.lower()
    name = _LEVEL_NAMES.get(name, name)
    return LEVELS.index(name) if name in LEVELS else LEVELS.index("info")


def _object(attributes: Iterable[KeyValue], *, depth: int = 0) -> dict[str, Any]:
    found = {}
    for number, each in enumerate(attributes):
        if number == MAX_ATTRIBUTES:
            break
        found[each.key[:MAX_NAME_CHARACTERS]] = _value(each.value, depth=depth)
    return found


def _value(value: AnyValue, *, depth: int = 0) -> Any:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value[:MAX_TEXT_CHARACTERS]
    if kind == "bytes_value":
        return value.bytes_value[:MAX_NAME_CHARACTERS].hex()
    if kind in {"array_value", "kvlist_value"}:
        return _nested(value, depth=depth + 1) if depth < MAX_DEPTH else "..."
    return getattr(value, kind) if kind in _SCALARS else None


def _nested(value: AnyValue, *, depth: int) -> Any:
    if value.HasField("array_value"):
        return [_value(each, depth=depth) for each in value.array_value.values[:MAX_ATTRIBUTES]]
    return _object(value.kvlist_value.values, depth=depth)


def _json(value: Mapping[str, Any] | list[Any] | object) -> str:
    return orjson.dumps(value).decode()
