"""Every service gets the same HTTP basics from `create_application`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI

from shared.cache import Cache
from shared.http.application import create_application
from shared.http.auth import Caller, admin_only, declared_access, public
from shared.settings import ServiceSettings
from tests.harness.asgi import client_of
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

    @router.delete("/v1/things", dependencies=[Depends(admin_only)])
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
            description="A test service.",
            settings=ServiceSettings(
                database_url="postgresql://127.0.0.1/unused",
                valkey_url="redis://127.0.0.1/0",
                kafka_bootstrap_servers="127.0.0.1:1",
                http_port=1,
                **settings,
            ),
            routers=[router],
            lifespan=lifespan,
            state={"cache": cache, "token_verifier": issuer.verifier(), "colour": "green"},
        )

    return make


@pytest.fixture
async def client(make_app: MakeApp) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(make_app(rate_limit="3/minute")) as opened:
        yield opened


async def test_every_v1_route_has_the_default_rate_limit(client: httpx2.AsyncClient, issuer: TokenIssuer) -> None:
    headers = issuer.header()
    statuses = [(await client.get("/v1/things", headers=headers)).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]


async def test_routes_outside_v1_have_no_rate_limit(client: httpx2.AsyncClient) -> None:
    for _ in range(5):
        response = await client.get("/.well-known/keys")
        assert response.status_code == 200
        assert "ratelimit" not in response.headers


async def test_a_response_without_a_token_has_rate_limit_and_request_id(client: httpx2.AsyncClient) -> None:
    response = await client.get("/v1/things")
    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["ratelimit-policy"] == '"default";q=3;w=60'
    assert response.headers["x-request-id"] == response.json()["request_id"]


async def test_a_body_over_a_megabyte_is_a_413(client: httpx2.AsyncClient) -> None:
    response = await client.post("/v1/things", json={"a": "x" * 1024 * 1024})
    assert response.status_code == 413


async def test_metrics_are_served(client: httpx2.AsyncClient) -> None:
    assert "http_requests_total" in (await client.get("/metrics")).text


def test_state_is_copied_to_the_application(make_app: MakeApp) -> None:
    assert make_app().state.colour == "green"


def test_a_route_without_a_declared_access_is_found(make_app: MakeApp) -> None:
    declared = declared_access(make_app())
    assert {route for route, access in declared.items() if access is None} == {
        "POST /v1/things",
        "GET /.well-known/keys",
    }
    assert declared["GET /metrics"] == public


def test_the_document_has_title_operation_ids_and_implied_problems(make_app: MakeApp) -> None:
    document = make_app().openapi()
    operation = document["paths"]["/v1/things"]["get"]
    assert document["info"]["title"] == "Orderly things"
    assert operation["operationId"] == "things"
    assert {"401", "429", "500"} <= set(operation["responses"])


async def test_a_trailing_slash_is_a_404_without_redirect(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/things/")).status_code == 404
