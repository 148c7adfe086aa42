"""HEAD wherever there is GET, and the methods of paths without parameters."""

from collections.abc import AsyncIterator
from uuid import UUID

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from prometheus_client import REGISTRY
from starlette.responses import StreamingResponse

from shared.errors import NotFound
from shared.http.methods import MethodsMiddleware
from shared.http.problems import install_problems
from shared.http.request_context import RequestContextMiddleware
from tests.harness.asgi import client_of
from tests.harness.problems import problem


def make_app() -> FastAPI:
    app = FastAPI()
    install_problems(app)
    app.add_middleware(MethodsMiddleware, application=app)
    app.add_middleware(RequestContextMiddleware)
    router = APIRouter(prefix="/sessions")

    @router.post("/refresh")
    async def refresh() -> str:
        return "refreshed"

    @router.get("/me")
    async def read_own() -> str:
        return "mine"

    @router.patch("/me")
    async def update_own() -> str:
        return "changed"

    @router.delete("/{session_id}")
    async def revoke(session_id: UUID) -> str:
        return str(session_id)

    @router.get("/{session_id}")
    async def read(session_id: UUID) -> str:
        return str(session_id)

    @router.get("")
    async def listed() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"one"
            yield b"two"

        return StreamingResponse(parts(), headers={"X-Total": "2"})

    @router.get("/lost/one")
    async def lost() -> None:
        raise NotFound

    app.include_router(router, prefix="/v1")
    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(make_app()) as opened:
        yield opened


@pytest.mark.parametrize("path", ["/v1/sessions/me", "/v1/sessions", "/v1/sessions/lost/one", "/nowhere"])
async def test_head_has_the_status_and_headers_of_get_and_no_body(client: httpx2.AsyncClient, path: str) -> None:
    request_id = {"X-Request-Id": "request-17"}
    got, headed = await client.get(path, headers=request_id), await client.head(path, headers=request_id)

    assert got.content
    assert (headed.status_code, headed.content, headed.headers) == (got.status_code, b"", got.headers)


async def test_head_is_counted_as_head_with_its_route(client: httpx2.AsyncClient) -> None:
    labels = {"method": "HEAD", "route": "/v1/sessions/{session_id}", "status_class": "4xx"}
    before = REGISTRY.get_sample_value("http_requests_total", labels) or 0.0
    await client.head("/v1/sessions/1")
    assert REGISTRY.get_sample_value("http_requests_total", labels) == before + 1


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/sessions/refresh", "POST"),
        ("HEAD", "/v1/sessions/refresh", "POST"),
        ("DELETE", "/v1/sessions/refresh", "POST"),
        ("DELETE", "/v1/sessions/me", "GET, HEAD, PATCH"),
        ("POST", "/v1/sessions/me", "GET, HEAD, PATCH"),
        ("OPTIONS", "/v1/sessions/me", "GET, HEAD, PATCH"),
        ("DELETE", "/v1/sessions", "GET, HEAD"),
        ("PUT", "/v1/sessions/17", "DELETE, GET, HEAD"),
        ("BREW", "/v1/sessions/me", "GET, HEAD, PATCH"),
    ],
)
async def test_another_method_is_a_405_that_names_those_of_the_path(
    client: httpx2.AsyncClient, method: str, path: str, allowed: str
) -> None:
    response = await client.request(method, path)

    assert (response.status_code, response.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        assert problem(response) == (405, "method_not_allowed")
        assert response.json()["instance"] == path
