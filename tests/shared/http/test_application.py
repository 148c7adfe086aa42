"""The composed application: what every service's HTTP side does without asking for it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI

from shared.cache import Cache
from shared.http.application import create_application
from shared.http.auth import Caller, access_matrix, public, require_role
from shared.settings import ServiceSettings
from tests.shared.http.conftest import ClientOf
from tests.shared.http.token_issuer import TokenIssuer

MakeApp = Callable[..., FastAPI]


@pytest.fixture
def make_app(cache: Cache, issuer: TokenIssuer) -> MakeApp:
    router = APIRouter()

    @router.get("/v1/things")
    async def things(_caller: Caller) -> list[str]:
        return []

    @router.post("/v1/things")
    async def add(thing: dict[str, Any]) -> int:
        return len(thing)

    @router.delete("/v1/things", dependencies=[Depends(require_role("admin"))])
    async def delete() -> None:
        pass

    @router.put("/v1/things", dependencies=[Depends(public)])
    async def replace() -> None:
        pass

    @router.get("/.well-known/keys")
    async def keys() -> list[str]:
        return []

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield

    def make(**settings: Any) -> FastAPI:
        return create_application(
            name="things",
            description="Things of the test.",
            settings=ServiceSettings(
                database_url="unused", valkey_url="unused", kafka_bootstrap_servers="unused", http_port=1, **settings
            ),
            routers=[router],
            lifespan=lifespan,
            state={"cache": cache, "token_verifier": issuer.verifier(), "colour": "green"},
        )

    return make


@pytest.fixture
async def client(client_of: ClientOf, make_app: MakeApp) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(make_app(rate_limit="3/minute")) as opened:
        yield opened


async def test_every_v1_route_has_the_default_rate_limit(client: httpx2.AsyncClient, issuer: TokenIssuer) -> None:
    headers = issuer.header()
    statuses = [(await client.get("/v1/things", headers=headers)).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]


async def test_what_is_not_under_v1_is_not_limited(client: httpx2.AsyncClient) -> None:
    for _ in range(5):
        response = await client.get("/.well-known/keys")
        assert response.status_code == 200
        assert "ratelimit" not in response.headers


async def test_even_a_refused_caller_sees_limit_and_request_id(client: httpx2.AsyncClient) -> None:
    response = await client.get("/v1/things")
    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["ratelimit-policy"] == '"default";q=3;w=60'
    assert response.headers["x-request-id"] == response.json()["request_id"]


async def test_a_body_over_a_megabyte_is_refused(client: httpx2.AsyncClient) -> None:
    response = await client.post("/v1/things", json={"a": "x" * 1024 * 1024})
    assert response.status_code == 413


async def test_metrics_are_served(client: httpx2.AsyncClient) -> None:
    assert "http_requests_total" in (await client.get("/metrics")).text


def test_state_is_where_dependencies_look_for_it(make_app: MakeApp) -> None:
    assert make_app().state.colour == "green"


def test_the_matrix_of_the_whole_application_shows_what_was_not_declared(make_app: MakeApp) -> None:
    matrix = access_matrix(make_app())
    assert {route for route, access in matrix.items() if access == "undeclared"} == {
        "POST /v1/things",
        "GET /.well-known/keys",
    }
    assert matrix["GET /metrics"] == "public"


def test_every_operation_documents_the_errors_that_any_can_answer(make_app: MakeApp) -> None:
    document = make_app().openapi()
    assert document["info"]["title"] == "Orderly things"
    for path in document["paths"].values():
        for operation in path.values():
            assert {"400", "413", "422", "429", "500"} <= set(operation["responses"])


def test_operations_document_how_callers_are_refused_without_being_told(make_app: MakeApp) -> None:
    operations = make_app().openapi()["paths"]["/v1/things"]
    refused = operations["get"]["responses"]["401"]["content"]["application/problem+json"]["examples"]
    assert set(refused) == {"token_missing", "token_invalid", "token_expired"}
    assert "403" not in operations["get"]["responses"]
    assert {"401", "403"} <= set(operations["delete"]["responses"])
    assert not {"401", "403"} & set(operations["put"]["responses"])


async def test_a_slash_too_many_is_a_404_and_no_redirect(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/things/")).status_code == 404
