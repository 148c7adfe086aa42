"""Every service gets the same HTTP basics from `create_application`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI
from pydantic import ValidationError

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

    @router.get("/v1/broken")
    async def broken() -> None:
        raise RuntimeError

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
        "GET /v1/broken",
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


SHOP = "https://shop.example"


@pytest.fixture
async def shop_client(make_app: MakeApp) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an application that the pages of one shop may call."""
    async with client_of(make_app(cors_origins=f"{SHOP}, http://[::1]:3000", rate_limit="2/minute")) as opened:
        yield opened


def preflight(origin: str, *, method: str = "PATCH", header: str = "if-match") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": f"authorization, {header}",
    }


@pytest.mark.parametrize("path", ["/v1/things", "/nowhere"])
@pytest.mark.parametrize("origin", [SHOP, "http://[::1]:3000"])
async def test_a_page_of_a_named_origin_may_call_the_api(
    shop_client: httpx2.AsyncClient, path: str, origin: str
) -> None:
    response = await shop_client.options(path, headers=preflight(origin))

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == origin
    assert {"PATCH", "HEAD"} <= set(response.headers["access-control-allow-methods"].split(", "))
    assert {"Authorization", "If-Match", "Idempotency-Key"} <= set(
        response.headers["access-control-allow-headers"].split(", ")
    )


@pytest.mark.parametrize(
    "headers",
    [preflight("https://other.example"), preflight(SHOP, method="TRACE"), preflight(SHOP, header="x-forwarded-for")],
)
async def test_another_preflight_is_refused(shop_client: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    response = await shop_client.options("/v1/things", headers=headers)
    assert (response.status_code, response.headers["content-type"]) == (403, "application/problem+json")
    assert response.json()["code"] == "cors_refused"


async def test_pages_can_read_errors_and_the_headers_of_responses(
    shop_client: httpx2.AsyncClient, issuer: TokenIssuer
) -> None:
    headers = issuer.header() | {"Origin": SHOP}
    responses = [await shop_client.get("/v1/things", headers=headers) for _ in range(3)]
    responses += [await shop_client.get("/v1/broken", headers={"Origin": SHOP}), await shop_client.get("/nowhere")]

    assert [response.status_code for response in responses] == [200, 200, 429, 500, 404]
    for response in responses[:4]:
        assert response.headers["access-control-allow-origin"] == SHOP
        exposed = set(response.headers["access-control-expose-headers"].split(", "))
        assert {"ETag", "Link", "Location", "Retry-After", "X-Request-Id", "Idempotency-Replayed"} <= exposed
        assert {"RateLimit", "RateLimit-Policy"} <= exposed
        assert response.headers["x-request-id"]
    # A cache must not give one origin's response to another.
    assert {response.headers["vary"] for response in responses} == {"Origin"}


async def test_without_the_setting_no_page_may_call_the_api(client: httpx2.AsyncClient) -> None:
    refused = await client.options("/v1/things", headers=preflight(SHOP))
    response = await client.get("/.well-known/keys", headers={"Origin": SHOP})

    assert refused.status_code == 405
    assert [name for name in response.headers if name.startswith("access-control")] == []


async def test_any_origin_may_be_allowed(make_app: MakeApp) -> None:
    async with client_of(make_app(cors_origins="*")) as opened:
        response = await opened.get("/.well-known/keys", headers={"Origin": SHOP})
    assert response.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "origin", ["https://shop.example/", "shop.example", "HTTPS://shop.example", "https://a b", "null"]
)
def test_an_origin_that_no_browser_sends_is_an_error_of_the_settings(make_app: MakeApp, origin: str) -> None:
    with pytest.raises(ValidationError, match="cors_origins"):
        make_app(cors_origins=origin)
