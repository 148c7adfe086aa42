"""The pages of traces, and their API, show what the services sent."""

from typing import Any

from tests.deploy.console.otlp import log_record, logs_of, span, span_id, spans_of, trace_id
from tests.deploy.console.running_console import Console

APPLIED: dict[str, Any] = {"messaging.kafka.offset": 7, "tags": ["a", "b"]}
ORDER, BATCH = trace_id("order").hex(), trace_id("batch").hex()
FAILED_SPAN = {
    "span_id": span_id("apply order.created").hex(),
    "parent_id": span_id("publish <order>").hex(),
    "depth": 3,
    "is_detached": False,
    "service": "users",
    "instance": "one",
    "name": "apply order.created",
    "kind": "consumer",
    "started_at": "2026-09-21T14:13:20.400000Z",
    "offset_ms": 400,
    "duration_ms": 100,
    "has_failed": True,
    "status_message": "CreditExceeded",
    "attributes": {"messaging.kafka.offset": 7, "tags": ["a", "b"]},
    "events": [],
    "links": [{"trace_id": ORDER, "span_id": span_id("place order").hex(), "service": "orders", "name": "place order"}],
    "linked_from": [],
}


async def test_a_trace_is_shown_with_its_spans_links_and_logs(console: Console) -> None:
    await _send_order(console)
    found = await console.get(f"/api/v1/traces/{ORDER}")

    spans = found.pop("spans")
    logs = found.pop("logs")
    assert found == {
        "trace_id": ORDER,
        "started_at": "2026-09-21T14:13:20Z",
        "duration_ms": 500,
        "services": ["gateway", "orders", "users"],
        "failed_spans": 1,
        "is_complete": True,
    }
    assert [
        (each["depth"], each["service"], each["name"], each["offset_ms"], each["has_failed"]) for each in spans
    ] == [
        (0, "gateway", "POST /v1/orders", 0, False),
        (1, "orders", "place order", 10, False),
        (2, "orders", "publish <order>", 50, False),
        (3, "users", "apply order.created", 400, True),
    ]
    batch = {"trace_id": BATCH, "span_id": span_id("relay").hex(), "service": "orders", "name": "relay"}
    assert spans[2]["linked_from"] == [batch]
    assert spans[3] == FAILED_SPAN
    assert spans[1]["linked_from"] == []  # the link is inside of the trace
    assert [(each["process"], each["event"], each["fields"]) for each in logs] == [
        ("orders", "order_placed", {"order_id": "7"}),
        ("users", "credit_exceeded", {}),
    ]

    page = await console.page(f"/traces/{ORDER}")
    assert "publish &lt;order&gt;" in page
    assert "<style" not in page
    assert "style=" not in page  # the content security policy forbids it
    assert f'href="/traces/{BATCH}#span-{span_id("relay").hex()}"' in page
    assert page.count(f'<li><a href="/traces/{ORDER}') == 0
    assert page.index("CreditExceeded") < page.index("credit_exceeded")
    linked = {"trace_id": ORDER, "span_id": span_id("publish <order>").hex(), "service": "orders"}
    [relay] = (await console.get(f"/api/v1/traces/{BATCH}"))["spans"]
    assert relay["links"] == [linked | {"name": "publish <order>"}]


async def test_traces_are_listed_newest_first_and_filtered(console: Console) -> None:
    await _send_order(console)
    for number in range(3):
        later = span(f"GET {number}", trace=f"later {number}", at_ms=10_000 + number, for_ms=5)
        await console.export("traces", spans_of("users", later))

    newest = await console.get("/api/v1/traces", limit="1")
    assert newest["items"] == [
        {
            "trace_id": trace_id("later 2").hex(),
            "name": "GET 2",
            "service": "users",
            "started_at": "2026-09-21T14:13:30.002000Z",
            "duration_ms": 5,
            "spans": 1,
            "failed_spans": 0,
            "services": ["users"],
        }
    ]
    assert newest["services"] == ["gateway", "orders", "users"]

    everything = ["GET 2", "GET 1", "GET 0", "relay", "POST /v1/orders"]
    assert await _names(console) == everything
    assert await _names(console, cursor=newest["next_cursor"]) == everything[1:]
    assert await _names(console, service="orders") == ["relay", "POST /v1/orders"]
    assert await _names(console, name="APPLY") == ["POST /v1/orders"]
    assert await _names(console, name="apply", service="orders") == []
    assert await _names(console, min_duration_ms="500") == ["POST /v1/orders"]
    assert await _names(console, has_failed="true") == ["POST /v1/orders"]

    page = await console.page("/traces", service="orders", name="", min_duration_ms="")
    assert [page.count(f'href="/traces/{trace}"') for trace in (ORDER, BATCH, trace_id("later 1").hex())] == [1, 1, 0]


async def test_a_trace_that_is_not_here_is_named(console: Console) -> None:
    response = await console.client.get(f"/api/v1/traces/{ORDER}")
    assert (response.status_code, response.json()["code"]) == (404, "trace_not_found")
    response = await console.client.get(f"/traces/{ORDER}")
    assert (response.status_code, response.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "no spans of this trace" in response.text
    assert (await console.client.get("/api/v1/traces/x")).status_code == 422
    assert (await console.client.get("/traces", params={"min_duration_ms": "long"})).status_code == 422
    assert "No trace matches" in await console.page("/traces")


async def _names(console: Console, **filters: str) -> list[str]:
    return [trace["name"] for trace in (await console.get("/api/v1/traces", **filters))["items"]]


async def _send_order(console: Console) -> None:
    sent: dict[str, list[Any]] = {
        "gateway": [span("POST /v1/orders", for_ms=60, kind="SERVER")],
        "orders": [
            span("place order", parent="POST /v1/orders", at_ms=10, for_ms=40),
            span("publish <order>", parent="place order", at_ms=50, kind="PRODUCER"),
            span("relay", trace="batch", at_ms=49, for_ms=3, links=[("order", "publish <order>")]),
        ],
        "users": [
            span(
                "apply order.created",
                parent="publish <order>",
                at_ms=400,
                for_ms=100,
                kind="CONSUMER",
                error="CreditExceeded",
                links=[("order", "place order")],
                **APPLIED,
            )
        ],
    }
    for service, spans in sent.items():
        await console.export("traces", spans_of(service, *spans))
    await console.export("logs", logs_of("users", log_record("credit_exceeded", trace="order", at_ms=410, severity=17)))
    await console.export(
        "logs", logs_of("orders", log_record("order_placed", trace="order", order_id="7"), log_record("x"))
    )
