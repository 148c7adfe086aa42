"""A small OpenTelemetry collector: it decodes what it is sent over HTTP, and can be slow or refuse everything."""

import asyncio
import gzip
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


@dataclass(frozen=True, kw_only=True)
class CollectedSpan:
    """A span as the collector got it. Ids are hexadecimal; `parent_id` is empty for the root of a trace."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    started_at: int
    attributes: dict[str, Any]
    links: tuple[str, ...]
    """The ids of the spans that it is linked with."""
    events: tuple[str, ...]
    has_failed: bool


@dataclass(frozen=True, kw_only=True)
class CollectedLine:
    """A log record as the collector got it."""

    service: str
    body: str
    severity: str
    trace_id: str
    span_id: str
    attributes: dict[str, Any]


@dataclass
class Collector:
    """The collected spans and lines, and how the collector responds."""

    spans: list[CollectedSpan] = field(default_factory=list)
    lines: list[CollectedLine] = field(default_factory=list)
    resources: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The names of the attributes of each service's resource."""
    status: int = 200
    delay_seconds: float = 0.0
    requests: int = 0

    def app(self) -> Starlette:
        """Return the application that collects."""
        return Starlette(
            routes=[
                Route("/v1/traces", self._traces, methods=["POST"]),
                Route("/v1/logs", self._logs, methods=["POST"]),
            ]
        )

    def trace(self, trace_id: str) -> list[CollectedSpan]:
        """Return the spans of a trace in the order of their starts."""
        return sorted((one for one in self.spans if one.trace_id == trace_id), key=lambda one: one.started_at)

    async def _traces(self, request: Request) -> Response:
        body = await self._accepted(request)
        if body is not None:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = self._service_of(resource.resource.attributes)
                self.spans += [_span(service, one) for scope in resource.scope_spans for one in scope.spans]
        return Response(status_code=self.status)

    async def _logs(self, request: Request) -> Response:
        body = await self._accepted(request)
        if body is not None:
            for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
                service = self._service_of(resource.resource.attributes)
                self.lines += [
                    CollectedLine(
                        service=service,
                        body=one.body.string_value,
                        severity=one.severity_text,
                        trace_id=one.trace_id.hex(),
                        span_id=one.span_id.hex(),
                        attributes=_attributes(one.attributes),
                    )
                    for scope in resource.scope_logs
                    for one in scope.log_records
                ]
        return Response(status_code=self.status)

    async def _accepted(self, request: Request) -> bytes | None:
        body = await request.body()
        self.requests += 1
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if self.status != 200:
            return None
        # Traefik compresses.
        return gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body

    def _service_of(self, attributes: Iterable[KeyValue]) -> str:
        resource = _attributes(attributes)
        service = str(resource["service.name"])
        self.resources[service] |= resource.keys()
        return service


def tree_of(spans: Sequence[CollectedSpan]) -> list[str]:
    """Return a trace as lines, a child indented below its parent: the service, the kind and the name."""
    children: dict[str, list[CollectedSpan]] = defaultdict(list)
    known = {one.span_id for one in spans}
    for one in spans:
        children[one.parent_id if one.parent_id in known else ""].append(one)
    for siblings in children.values():
        # The relay publishes while the process continues: sometimes before its next span, sometimes after.
        siblings.sort(key=lambda one: (one.kind == "producer", one.started_at))

    def lines(parent_id: str, depth: int) -> Iterator[str]:
        for one in children[parent_id]:
            yield f"{'  ' * depth}{one.service} {one.kind} {one.name}"
            yield from lines(one.span_id, depth + 1)

    return list(lines("", 0))


def _span(service: str, one: SpanMessage) -> CollectedSpan:
    return CollectedSpan(
        service=service,
        name=one.name,
        kind=SpanMessage.SpanKind.Name(one.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=one.trace_id.hex(),
        span_id=one.span_id.hex(),
        parent_id=one.parent_span_id.hex(),
        started_at=one.start_time_unix_nano,
        attributes=_attributes(one.attributes),
        links=tuple(link.span_id.hex() for link in one.links),
        events=tuple(event.name for event in one.events),
        has_failed=one.status.code == 2,
    )


def _attributes(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None
