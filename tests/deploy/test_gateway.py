"""The gateway between real HTTP clients and small servers in place of the services."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import pytest

from deploy.local.readiness import http_answers
from deploy.local.tcp_server import tcp_server
from tests.contracts.applications import applications
from tests.deploy.running_gateway import gateway, gateway_process
from tests.harness.waiting import until


class _Handler(BaseHTTPRequestHandler):
    """Responds to /v1/orders/429 with the status 429, to other paths with 200, and names the server and the client."""

    wbufsize = 65_536

    def do_GET(self) -> None:
        ending = self.path.rsplit("/", 1)[-1]
        status = int(ending) if ending.isdecimal() else 200
        if self.path == "/health/ready" and not getattr(self.server, "is_ready", True):
            status = 503
        self.server.received.append(self.path)  # type: ignore[attr-defined]  # see service_server
        body = f"{self.connection.getsockname()[1]} {self.headers.get('X-Forwarded-For')}".encode()
        self.send_response(status)
        self.send_header("X-Request-Id", "of-the-service")
        if status in {429, 503}:
            self.send_header("Retry-After", "7")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", "script-src 'self'")
        self.send_header("Referrer-Policy", "same-origin")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - named by the base class

    def do_OPTIONS(self) -> None:
        self.send_response(200)
        self.send_header("Access-Control-Allow-Origin", self.headers["Origin"])
        self.send_header("Access-Control-Allow-Methods", self.headers["Access-Control-Request-Method"])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.send_response(304 if "If-None-Match" in self.headers else 200)
        self.send_header("X-Request-Id", "of-the-service")
        self.send_header("ETag", '"1"')
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@contextmanager
def service_server() -> Iterator[ThreadingHTTPServer]:
    """Run a server that stands for one process of a service."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.received = []  # type: ignore[attr-defined]  # the paths of its requests
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def url_of(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


async def _is_away(client: httpx2.AsyncClient, path: str) -> bool:
    return (await client.get(path)).status_code == 503


async def test_errors_of_the_gateway_are_problems_and_those_of_services_pass(tmp_path: Path) -> None:
    with service_server() as orders:
        async with gateway(tmp_path, orders=url_of(orders)) as client:
            # Until its first health check has failed, a server counts as up.
            await until(lambda: _is_away(client, "/v1/users"), what="the gateway knows that the service is away")
            away = await client.post("/v1/users/%C3%A9?a=1", headers={"X-Request-Id": "given"})
            unchanged = [await client.get(f"/v1/orders/{status}") for status in (404, 429, 503)]

    assert away.headers["content-type"] == "application/problem+json"
    assert away.json() == {
        "type": "urn:orderly:problem:service_unavailable",
        "title": "The service is temporarily unavailable",
        "status": 503,
        "code": "service_unavailable",
        "instance": "/v1/users/%C3%A9",
        "request_id": "given",
    }
    assert away.headers["retry-after"] == "2"
    assert [response.status_code for response in unchanged] == [404, 429, 503]
    assert all(response.text.startswith(str(orders.server_port)) for response in unchanged)
    # An overloaded service says when to come back, and the gateway does not repeat a request that it has refused.
    assert [response.headers.get("retry-after") for response in unchanged] == [None, "7", "7"]
    received = [path for path in orders.received if path.startswith("/v1/")]  # type: ignore[attr-defined]
    assert received == [f"/v1/orders/{status}" for status in (404, 429, 503)]


async def test_pages_of_accounts_keep_their_own_policies(tmp_path: Path) -> None:
    with service_server() as users:
        async with gateway(tmp_path, users=url_of(users)) as client:
            pages = [await client.get(path) for path in ("/account", "/account/passkeys.js", "/account/passkeys/new")]
            api = await client.get("/v1/users/me")
            unknown = await client.get("/accounts")

    policies = ("content-security-policy", "referrer-policy")
    assert [[page.headers[name] for name in policies] for page in pages] == [["script-src 'self'", "same-origin"]] * 3
    assert [api.headers[name] for name in policies] == ["default-src 'none'; frame-ancestors 'none'", "no-referrer"]
    assert [page.headers["x-content-type-options"] for page in (*pages, api)] == ["nosniff"] * 4
    assert unknown.json()["code"] == "not_found"


async def test_a_flood_gets_problems(tmp_path: Path) -> None:
    with service_server() as orders:
        # So few requests per second that even a busy machine sends more.
        async with gateway(tmp_path, orders=url_of(orders), requests_per_second=1) as client:
            flood = await asyncio.gather(*(client.get("/v1/orders") for _ in range(50)))

    rejected = [response for response in flood if response.status_code == 429]
    assert {response.json()["code"] for response in rejected} == {"rate_limited"}
    assert all(int(response.headers["retry-after"]) >= 0 for response in rejected)


async def test_the_gateway_routes_the_services_paths_and_nothing_else(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = {name: stack.enter_context(service_server()) for name in ("users", "orders", "notifications")}
        ports = {str(server.server_port): name for name, server in servers.items()}
        async with gateway(tmp_path, **{name: url_of(server) for name, server in servers.items()}) as client:
            for name, app in applications(tmp_path).items():
                for path in app.openapi()["paths"]:
                    response = await client.get(path.replace("{", "").replace("}", ""))
                    if path.startswith(("/v1/", "/.well-known/")):
                        assert ports[response.text.partition(" ")[0]] == name, path
                    else:
                        assert response.json()["code"] == "not_found", path
            for path in (
                "/v1/usersfoo",
                "/internal/personal-keys",
                "/v1/users/../../internal/personal-keys",
                "/v1/users/%2e%2e/%2e%2e/internal/personal-keys",
                "/v1/orders-old",
                "/v1/operations",
                "/v1/operations/users",
                "/v1/operations/ordersx/dead-letters",
                "/v1",
                "/health/ready",
                "/metrics",
                "/docs",
                "/openapi.json",
            ):
                response = await client.get(path)
                assert (response.status_code, response.json()["code"]) == (404, "not_found"), path
                assert response.headers["x-content-type-options"] == "nosniff"


async def test_preflight_requests_head_and_304_pass_the_gateway(tmp_path: Path) -> None:
    preflight = {"Origin": "https://shop.example", "Access-Control-Request-Method": "PATCH"}
    with service_server() as orders:
        async with gateway(tmp_path, orders=url_of(orders)) as client:
            allowed = await client.options("/v1/orders", headers=preflight)
            headed = await client.head("/v1/orders")
            unchanged = await client.head("/v1/orders", headers={"If-None-Match": '"1"'})

    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "https://shop.example")
    assert allowed.headers["access-control-allow-methods"] == "PATCH"
    assert [(response.status_code, response.headers["etag"]) for response in (headed, unchanged)] == [
        (200, '"1"'),
        (304, '"1"'),
    ]


async def test_a_gateway_without_its_routes_is_not_ready(tmp_path: Path) -> None:
    routes = tmp_path / "routes.yaml"
    routes.touch()
    async with gateway_process(tmp_path, routes_file=routes) as made:
        await until(lambda: http_answers(made.health_port, "/ping"), what="the process answers", poll_seconds=0.05)

        assert await made.program().ready() is False


@pytest.mark.parametrize(("trusted", "believed"), [("127.0.0.1", True), ("192.0.2.0/24", False)])
async def test_forwarded_addresses_are_believed_from_trusted_proxies_only(
    tmp_path: Path, trusted: str, *, believed: bool
) -> None:
    with service_server() as users:
        async with gateway(tmp_path, users=url_of(users), trusted_proxies=trusted) as client:
            response = await client.get("/v1/users", headers={"X-Forwarded-For": "203.0.113.9"})

    assert ("203.0.113.9" in response.text) is believed
    assert "127.0.0.1" in response.text


async def test_a_server_that_is_not_ready_gets_no_requests_and_none_fails(tmp_path: Path) -> None:
    with service_server() as first, service_server() as second:
        async with gateway(tmp_path, users=f"{url_of(first)},{url_of(second)}") as client:

            async def answering() -> set[str]:
                responses = await asyncio.gather(*(client.post("/v1/users") for _ in range(4)))
                assert {response.status_code for response in responses} == {200}
                return {response.text.partition(" ")[0] for response in responses}

            async def only_the_second_answers() -> bool:
                return await answering() == {str(second.server_port)}

            assert await answering() == {str(first.server_port), str(second.server_port)}
            first.is_ready = False  # type: ignore[attr-defined]  # read by the handler
            await until(only_the_second_answers, what="the first server gets no requests", poll_seconds=0.05)
            first.shutdown()
            first.server_close()
            for _ in range(10):
                assert await only_the_second_answers()


async def test_a_request_whose_connection_was_lost_is_repeated_only_if_it_is_idempotent(tmp_path: Path) -> None:
    """A POST may have had its effect before the connection was lost."""
    received: list[str] = []

    async def drop(request: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, path, _ = (await request.readline()).decode().split(" ")
        if path == "/health/ready":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        else:
            received.append(method)

    async with tcp_server(drop) as port, gateway(tmp_path, users=f"http://127.0.0.1:{port}") as client:
        responses = [await client.request(method, "/v1/users") for method in ("POST", "GET")]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [
        (502, "service_unreachable"),
        (502, "service_unreachable"),
    ]
    assert received == ["POST", "GET", "GET", "GET"]


async def test_server_sent_events_are_not_delayed(tmp_path: Path) -> None:
    received = asyncio.Event()

    async def stream(request: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, path, _ = (await request.readline()).decode().split(" ")
        writer.write(b"HTTP/1.1 200 OK\r\nX-Request-Id: 1\r\nContent-Type: text/event-stream\r\n\r\ndata: first\n\n")
        if path != "/health/ready":
            await received.wait()

    async with (
        tcp_server(stream) as port,
        gateway(tmp_path, notifications=f"http://127.0.0.1:{port}") as client,
        client.stream("GET", "/v1/notifications/1") as response,
    ):
        first = await anext(response.aiter_lines())
        received.set()

    assert first == "data: first"


async def test_a_killed_server_fails_no_request_that_can_be_repeated(tmp_path: Path) -> None:
    with service_server() as first, service_server() as second:
        async with gateway(tmp_path, users=f"{url_of(first)},{url_of(second)}") as client:
            first.shutdown()
            first.server_close()

            statuses = [(await client.get("/v1/users")).status_code for _ in range(20)]

            assert set(statuses) == {200}

            async def posts_succeed() -> bool:
                responses = [await client.post("/v1/users") for _ in range(4)]
                return {response.status_code for response in responses} == {200}

            await until(posts_succeed, what="the killed server gets no requests", poll_seconds=0.05)
