"""The id, trace, log line and metrics of a request."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Request
from prometheus_client import REGISTRY
from starlette.responses import StreamingResponse
from structlog.testing import capture_logs

from shared.http.metrics import metrics_router
from shared.http.problems import install_problems
from shared.http.request_context import RequestContextMiddleware, add_response_header
from shared.telemetry import current_traceparent, current_tracestate
from tests.harness.asgi import client_of
from tests.harness.recorded_spans import RecordedSpan, RecordedSpans

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def make_app() -> FastAPI:
    app = FastAPI()
    install_problems(app)
    app.add_middleware(RequestContextMiddleware)
    router = APIRouter(prefix="/orders")

    @router.get("/{order_id}")
    async def read(order_id: str, request: Request) -> dict[str, str | None]:
        add_response_header(request, "RateLimit", '"a";r=1')
        add_response_header(request, "RateLimit", '"b";r=2')
        return {"traceparent": current_traceparent(), "tracestate": current_tracestate(), "order": order_id}

    @router.get("/{order_id}/broken")
    async def broken(order_id: str, request: Request) -> None:
        add_response_header(request, "RateLimit", '"a";r=1')
        raise RuntimeError(order_id)

    @router.get("/{order_id}/interrupted")
    async def interrupted(order_id: str) -> StreamingResponse:
        async def content() -> AsyncIterator[bytes]:
            yield b"begun"
            raise RuntimeError(order_id)

        return StreamingResponse(content())

    app.include_router(router, prefix="/v1")
    app.include_router(metrics_router)
    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(make_app()) as opened:
        yield opened


@pytest.mark.parametrize("given", ["abcd1234", "A.b_c-9" * 18])
async def test_a_well_formed_request_id_is_kept(client: httpx2.AsyncClient, given: str) -> None:
    response = await client.get("/v1/orders/7", headers={"X-Request-Id": given})
    assert response.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "short", "x" * 129, "with spaces in it", 'quote"quote"', "line\tbreak1"])
async def test_a_malformed_request_id_is_replaced(client: httpx2.AsyncClient, given: str) -> None:
    response = await client.get("/v1/orders/7", headers={"X-Request-Id": given})
    assert response.headers["x-request-id"] != given
    assert len(response.headers["x-request-id"]) == 32


@pytest.mark.parametrize("path", ["/nowhere", "/v1/orders/7/broken"])
async def test_error_responses_have_the_request_id(client: httpx2.AsyncClient, path: str) -> None:
    response = await client.get(path, headers={"X-Request-Id": "request-17"})
    assert response.headers["x-request-id"] == "request-17"


async def test_added_headers_are_sent_with_successes_and_errors(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/orders/7")).headers.get_list("ratelimit") == ['"a";r=1', '"b";r=2']
    assert (await client.get("/v1/orders/7/broken")).headers.get_list("ratelimit") == ['"a";r=1']


async def test_a_trace_is_continued(client: httpx2.AsyncClient) -> None:
    headers = {"traceparent": TRACEPARENT, "tracestate": "vendor=1"}
    body = (await client.get("/v1/orders/7", headers=headers)).json()
    assert (body["traceparent"], body["tracestate"]) == (TRACEPARENT, "vendor=1")


async def test_without_a_trace_a_new_one_begins(client: httpx2.AsyncClient) -> None:
    first = (await client.get("/v1/orders/7")).json()["traceparent"]
    second = (await client.get("/v1/orders/7")).json()["traceparent"]
    assert first[3:35] != second[3:35]


async def test_the_log_line_has_the_path_template_and_nothing_personal(client: httpx2.AsyncClient) -> None:
    with capture_logs() as logs:
        await client.get("/v1/orders/secret-7?email=ann@example.org")
    [line] = logs
    assert line.pop("duration_ms") >= 0
    assert line == {
        "event": "request_finished",
        "log_level": "info",
        "method": "GET",
        "route": "/v1/orders/{order_id}",
        "status": 200,
    }


async def test_an_unexpected_error_is_logged_once_with_its_traceback(client: httpx2.AsyncClient) -> None:
    with capture_logs() as logs:
        await client.get("/v1/orders/7/broken")
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("request_failed", "error"),
        ("request_finished", "info"),
    ]
    assert logs[0]["exc_info"]


async def test_an_error_after_the_response_started_closes_the_connection(client: httpx2.AsyncClient) -> None:
    with capture_logs() as logs, pytest.raises(RuntimeError):
        await client.get("/v1/orders/7/interrupted")
    assert [line["event"] for line in logs] == ["request_failed", "request_finished"]


async def test_requests_are_counted_by_path_template_and_status_class(client: httpx2.AsyncClient) -> None:
    def counted(**labels: str) -> float:
        return REGISTRY.get_sample_value("http_requests_total", labels) or 0.0

    known = {"method": "GET", "route": "/v1/orders/{order_id}", "status_class": "2xx"}
    unknown = {"method": "other", "route": "unmatched", "status_class": "4xx"}
    before = counted(**known), counted(**unknown)
    await client.get("/v1/orders/1")
    await client.get("/v1/orders/2")
    await client.request("BREW", "/nowhere")
    assert (counted(**known), counted(**unknown)) == (before[0] + 2, before[1] + 1)


OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


@pytest.mark.parametrize(
    ("accept", "content_type", "ends_with_eof"),
    [
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8", True),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8", False),
        ("", "text/plain; version=0.0.4; charset=utf-8", False),
    ],
)
async def test_the_metrics_page_has_the_format_that_the_scraper_accepts(
    client: httpx2.AsyncClient, accept: str, content_type: str, ends_with_eof: bool
) -> None:
    response = await client.get("/metrics", headers={"Accept": accept})
    assert response.headers["content-type"].partition("; escaping")[0] == content_type
    assert response.text.endswith("# EOF\n") == ends_with_eof
    # They would be a time series more for each of these.
    assert "_created" not in response.text


async def test_the_metrics_page_shows_request_metrics(client: httpx2.AsyncClient) -> None:
    await client.get("/v1/orders/1")
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    assert 'http_request_duration_seconds_bucket{le="+Inf",method="GET",route="/v1/orders/{order_id}"' in response.text


async def test_a_successful_scrape_is_logged_at_debug_level(client: httpx2.AsyncClient) -> None:
    with capture_logs() as logs:
        await client.get("/metrics")
    assert [line["log_level"] for line in logs] == ["debug"]


async def test_a_request_has_a_span_named_after_its_route(
    client: httpx2.AsyncClient, recorded_spans: RecordedSpans
) -> None:
    body = (await client.get("/v1/orders/secret-7", headers={"traceparent": TRACEPARENT})).json()
    await client.request("BREW", "/nowhere")
    [ordinary, unknown] = recorded_spans.all()
    # What a request records and calls is below its own span, not below the caller's.
    assert body["traceparent"][:36] == TRACEPARENT[:36]
    assert body["traceparent"] != TRACEPARENT
    request_id = ordinary.attributes.pop("orderly.request_id")
    assert ordinary == RecordedSpan(
        name="GET /v1/orders/{order_id}",
        parent="00f067aa0ba902b7",
        attributes={
            "http.request.method": "GET",
            "http.route": "/v1/orders/{order_id}",
            "url.scheme": "http",
            "network.protocol.version": "1.1",
            "http.response.status_code": 200,
        },
        links=[],
        events=[],
        error=None,
    )
    assert len(request_id) == 32
    assert (unknown.name, unknown.parent, unknown.error) == ("_OTHER unmatched", "", None)


async def test_the_span_of_a_failed_request_describes_its_error_without_values(
    client: httpx2.AsyncClient, recorded_spans: RecordedSpans
) -> None:
    await client.get("/v1/orders/secret-7/broken")
    [failed] = recorded_spans.all()
    assert failed.error is not None
    assert failed.error.startswith("RuntimeError: in broken, ")
    assert (failed.attributes["error.type"], failed.attributes["http.response.status_code"]) == ("RuntimeError", 500)
    assert "secret" not in str(failed)


async def test_a_scrape_has_no_span(client: httpx2.AsyncClient, recorded_spans: RecordedSpans) -> None:
    await client.get("/metrics")
    assert recorded_spans.all() == []
