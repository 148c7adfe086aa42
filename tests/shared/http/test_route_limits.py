"""Costly routes have limits of their own, which the default's dependency counts and the document names."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI
from pydantic import ValidationError

from deploy.local.state import CHECKOUT
from shared.cache import Cache
from shared.http.auth import public
from shared.http.openapi import complete_openapi
from shared.http.pagination import PageParams
from shared.http.problems import install_problems
from shared.http.rate_limit import RateLimiter
from shared.http.request_context import RequestContextMiddleware
from shared.http.route_limits import OPERATIONS, RequestLimits, UnknownLimits
from shared.settings import ServiceSettings
from tests.contracts.applications import applications
from tests.harness.asgi import client_of
from tests.shared.http.token_issuer import TokenIssuer


def make_app(cache: Cache, issuer: TokenIssuer, **changed: str) -> FastAPI:
    limits = RequestLimits(default="9/minute", changed=changed)
    app = FastAPI(dependencies=[Depends(limits)])
    app.state.rate_limiter = RateLimiter(cache)
    app.state.token_verifier = issuer.verifier()
    router = APIRouter(prefix="/v1/things", dependencies=[Depends(public)])

    @router.get("")
    async def list_things(_params: PageParams) -> None:
        pass

    @router.get("/{thing_id}")
    async def read(thing_id: int) -> int:
        return thing_id

    @router.post("/{thing_id}/replays", dependencies=[Depends(OPERATIONS)])
    async def replay(thing_id: int) -> int:
        """Replay."""
        return thing_id

    app.include_router(router)
    install_problems(app)
    app.add_middleware(RequestContextMiddleware)
    limits.read_routes(app)
    complete_openapi(app, limits)
    return app


@pytest.fixture
async def client(cache: Cache, issuer: TokenIssuer) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(make_app(cache, issuer, operations="2/minute")) as opened:
        yield opened


def fields(response: httpx2.Response) -> list[str]:
    return [re.sub(r";t=\d+", "", field) for field in response.headers.get_list("ratelimit")]


async def test_a_costly_route_counts_on_its_own_limit_and_on_the_default(client: httpx2.AsyncClient) -> None:
    responses = [await client.post(f"/v1/things/{number}/replays") for number in range(3)]
    listed, read = await client.get("/v1/things"), await client.get("/v1/things/1")

    assert [response.status_code for response in responses] == [200, 200, 429]
    # A request that one limit rejects counts on none.
    assert [fields(response) for response in responses] == [
        ['"default";r=8', '"operations";r=1'],
        ['"default";r=7', '"operations";r=0'],
        ['"default";r=7', '"operations";r=0'],
    ]
    assert responses[2].json()["code"] == "rate_limited"
    assert 1 <= int(responses[2].headers["retry-after"]) <= 60
    assert responses[2].headers.get_list("ratelimit-policy") == ['"default";q=9;w=60', '"operations";q=2;w=60']
    assert fields(listed) == ['"default";r=6', '"lists";r=299']
    assert fields(read) == ['"default";r=5']


async def test_callers_are_counted_apart(client: httpx2.AsyncClient, issuer: TokenIssuer) -> None:
    first, second = issuer.header(), issuer.header()
    responses = [await client.post("/v1/things/1/replays", headers=header) for header in (first, first, first, second)]
    assert [response.status_code for response in responses] == [200, 200, 429, 200]


def test_the_document_names_the_limits_in_force(cache: Cache, issuer: TokenIssuer) -> None:
    paths = make_app(cache, issuer, **{"*": "5/second", "lists": "7/minute"}).openapi()["paths"]
    assert paths["/v1/things/{thing_id}/replays"]["post"]["description"] == (
        "Replay.\n\nA caller may send 5 requests with the limit `operations` in each second."
    )
    listed = paths["/v1/things"]["get"]
    assert listed["description"] == "A caller may send 7 requests with the limit `lists` in each minute."
    assert listed["responses"]["429"]["headers"].keys() == {"Retry-After", "RateLimit", "RateLimit-Policy"}
    assert listed["responses"]["503"]["headers"].keys() == {"Retry-After"}


def test_an_unknown_limit_is_an_error_at_the_start(cache: Cache, issuer: TokenIssuer) -> None:
    with pytest.raises(UnknownLimits, match="names searches; there are lists, operations"):
        make_app(cache, issuer, searches="9/minute")


def test_the_setting_is_a_list_of_names_and_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    values: dict[str, Any] = {"database_url": "postgresql://db/a", "valkey_url": "redis://v", "http_port": 1}

    def read(text: str) -> dict[str, str]:
        monkeypatch.setenv("ROUTE_RATE_LIMITS", text)
        return ServiceSettings(kafka_bootstrap_servers="k:1", **values).route_rate_limits

    assert read("lists=5/minute, *=10/second") == {"lists": "5/minute", "*": "10/second"}
    with pytest.raises(ValidationError, match="name=limit"):
        read("lists")


def test_the_runbook_lists_every_limit(tmp_path: Path) -> None:
    text = (CHECKOUT / "docs/runbooks/overload.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)` \| (\w+) \| (\d+)/minute \|", text, re.MULTILINE))
    declared = {
        (name, service, str(limit.requests))
        for service, app in applications(tmp_path).items()
        for name, limit in app.state.request_limits.all()
        if limit.window_seconds == 60
    }
    assert listed == declared
