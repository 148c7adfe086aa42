"""The console receives traces and logs by OTLP/HTTP, and rejects what it cannot store without losing the rest."""

import asyncio
import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, Tracer

from deploy.console.telemetry.receiver import MAX_BODY_BYTES, Receiver
from tests.deploy.console.otlp import log_record, logs_of, span, spans_of
from tests.deploy.console.running_console import Console, running_console
from tests.harness.asgi import client_of
from tests.harness.small_disk import disks_can_be_mounted, small_disk

PROTOBUF = {"Content-Type": "application/x-protobuf"}


async def test_the_real_exporter_is_understood(console: Console) -> None:
    exporter = OTLPSpanExporter(f"{console.otlp.base_url}/v1/traces", compression=Compression.Gzip)
    provider = TracerProvider(resource=Resource({"service.name": "orders", "service.instance.id": "a1"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")

    await asyncio.to_thread(_record, tracer)
    provider.shutdown()

    [parent, child] = await _stored(console, "name, kind, service, instance, has_failed, attributes, events")
    assert parent == ("POST /v1/orders", "server", "orders", "a1", 0, '{"http.route":"/v1/orders","sizes":[1,2]}', "[]")
    assert child[:5] == ("INSERT", "client", "orders", "a1", 1)
    assert '"exception.type":"ValueError"' in child[6]


async def test_an_invalid_span_is_rejected_alone(console: Console) -> None:
    request = spans_of("orders", span("good"), span("without a trace"), span("early"), span("late"), span("new"))
    sent = request.resource_spans[0].scope_spans[0].spans
    sent[1].trace_id = b"\0" * 16
    sent[2].start_time_unix_nano = 0
    sent[3].end_time_unix_nano = 2**64 - 1

    response = await console.export("traces", request)

    answer = ExportTraceServiceResponse.FromString(response.content)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-protobuf")
    assert answer.partial_success.rejected_spans == 3
    assert answer.partial_success.error_message == "a time is out of range"
    assert await _stored(console, "name") == [("good",), ("new",)]


async def test_a_repeated_request_changes_nothing(console: Console) -> None:
    request = spans_of("orders", span("one", links=[("other", "event")]), span("two", parent="one"))
    for _ in range(2):
        response = await console.export("traces", request)
        assert ExportTraceServiceResponse.FromString(response.content) == ExportTraceServiceResponse()
    assert await _count(console) == {"spans": 2, "links": 1, "traces": 1, "log_records": 0}
    assert await console.telemetry.read(lambda c: c.execute("SELECT spans FROM traces").fetchall()) == [(2,)]


async def test_log_records_are_stored_with_all_that_they_say(console: Console) -> None:
    request = logs_of(
        "orders",
        log_record("order_placed", order_id="7", total_cents=1200, lines=["a", {"b": 1.5, "c": True}], trace="order"),
        log_record("failed", severity=17, logger="services.orders.jobs"),
        log_record("unnumbered", severity=0),
        log_record("old"),
    )
    records = request.resource_logs[0].scope_logs[0].log_records
    records[2].severity_text = "WARN"
    records[3].time_unix_nano = 2**64 - 1

    response = await console.export("logs", request)

    answer = ExportLogsServiceResponse.FromString(response.content)
    assert answer.partial_success.rejected_log_records == 1
    rows = await console.telemetry.read(
        lambda c: c.execute("SELECT level, service, instance, logger, event, fields FROM log_records").fetchall()
    )
    fields = '{"order_id":"7","total_cents":1200,"lines":["a",{"b":1.5,"c":true}]}'
    assert rows == [
        (2, "orders", "one", "services", "order_placed", fields),
        (4, "orders", "one", "services.orders.jobs", "failed", "{}"),
        (3, "orders", "one", "services", "unnumbered", "{}"),
    ]


BOMB = gzip.compress(b"\0" * (MAX_BODY_BYTES + 1))
VALID = spans_of("orders", span("one")).SerializeToString()


WRONG: list[tuple[bytes, dict[str, str], int]] = [
    (b"no protobuf", {}, 400),
    (VALID[:-3], {}, 400),
    (b"no gzip", {"Content-Encoding": "gzip"}, 400),
    (gzip.compress(VALID)[:-4], {"Content-Encoding": "gzip"}, 400),
    (gzip.compress(VALID) + b"more", {"Content-Encoding": "gzip"}, 400),
    (b"\0" * (MAX_BODY_BYTES + 1), {}, 413),
    (BOMB, {"Content-Encoding": "gzip"}, 413),
    (VALID, {"Content-Encoding": "br"}, 415),
    (b"{}", {"Content-Type": "application/json"}, 415),
    (VALID, {"Content-Type": "text/plain"}, 415),
    (VALID, {"Origin": "https://evil.example"}, 403),
    (VALID, {"Sec-Fetch-Site": "cross-site"}, 403),
]


async def test_a_wrong_request_is_rejected_with_its_reason(console: Console) -> None:
    for body, headers, status in WRONG:
        response = await console.otlp.post("/v1/traces", content=body, headers={**PROTOBUF, **headers})
        assert (response.status_code, headers) == (status, headers)
        assert Status.FromString(response.content).message
    assert await _count(console) == {"spans": 0, "links": 0, "traces": 0, "log_records": 0}
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    response = await console.otlp.request("OPTIONS", "/v1/traces", headers=headers)
    assert response.status_code == 405
    assert not any(name.startswith("access-control") for name in response.headers)


async def test_a_bomb_is_decompressed_no_further_than_its_limit(console: Console) -> None:
    body = gzip.compress(b"\0" * 25 * MAX_BODY_BYTES, compresslevel=1)
    tracemalloc.start()
    try:
        response = await console.otlp.post("/v1/logs", content=body, headers={**PROTOBUF, "Content-Encoding": "gzip"})
        assert response.status_code == 413
        assert tracemalloc.get_traced_memory()[1] < 5 * MAX_BODY_BYTES
    finally:
        tracemalloc.stop()


async def test_a_body_of_unknown_length_is_read_no_further_than_its_limit(console: Console) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 100 * MAX_BODY_BYTES:
            sent += 65536
            yield b"\0" * 65536

    try:
        response = await console.otlp.post("/v1/traces", content=endless(), headers=PROTOBUF)
    except httpx2.TransportError:
        pass  # the console closed the connection before it had read all
    else:
        assert response.status_code == 413
    assert sent < 20 * MAX_BODY_BYTES


async def test_an_exporter_that_sends_too_fast_is_told_when_to_retry(console: Console) -> None:
    now = 0.0
    receiver = Receiver(console.telemetry, max_bytes_per_second=1000, clock=lambda: now)
    body = spans_of("orders", span("one", text="x" * 1000)).SerializeToString()
    big = ExportTraceServiceRequest.FromString(body)
    big.resource_spans[0].scope_spans[0].spans[0].attributes[0].value.string_value = "x" * (MAX_BODY_BYTES - 1000)
    async with client_of(receiver.app) as client:

        async def send(content: bytes) -> tuple[int, str | None]:
            response = await client.post("/v1/traces", content=content, headers=PROTOBUF)
            return response.status_code, response.headers.get("retry-after")

        assert await send(big.SerializeToString()) == (200, None)
        assert await send(body) == (429, "1")
        now = 2.0
        assert await send(body) == (200, None)


@pytest.mark.skipif(not disks_can_be_mounted(), reason="may not mount file systems")
async def test_a_full_disk_tells_exporters_to_retry(tmp_path: Path) -> None:
    request = spans_of("orders", *(span(f"span {number}", text="x" * 3000) for number in range(300)))
    with small_disk(tmp_path / "disk", mebibytes=8) as disk:
        async with running_console(disk.folder) as console:
            disk.fill()
            response = await console.export("traces", request)
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            disk.free()
            assert (await console.export("traces", request)).status_code == 200
            assert (await _count(console))["spans"] == 300


async def test_a_taken_port_fails_the_start_and_names_the_port(console: Console, tmp_path: Path) -> None:
    port = console.app.state.otlp_port
    with pytest.raises(OSError, match=str(port)):
        async with running_console(tmp_path, otlp_port=port):
            pass


def _record(tracer: Tracer) -> None:
    with tracer.start_as_current_span("POST /v1/orders", kind=SpanKind.SERVER) as started:
        started.set_attributes({"http.route": "/v1/orders", "sizes": [1, 2]})
        try:
            with tracer.start_as_current_span("INSERT", kind=SpanKind.CLIENT):
                raise ValueError("no")
        except ValueError:
            pass


async def _stored(console: Console, columns: str) -> list[tuple[Any, ...]]:
    return await console.telemetry.read(
        lambda connection: connection.execute(
            f"SELECT {columns} FROM spans ORDER BY started_ns, id"  # noqa: S608 - own names
        ).fetchall()
    )


async def _count(console: Console) -> dict[str, int]:
    tables = ("spans", "links", "traces", "log_records")
    return await console.telemetry.read(
        lambda connection: {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - own names
            for table in tables
        }
    )
