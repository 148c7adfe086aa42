"""Rate limits: keys, headers, and what happens without Valkey."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx2
import pytest
from fastapi import Depends, FastAPI, Request
from structlog.testing import capture_logs

from shared.cache import Cache, open_cache
from shared.http.problems import install_problems
from shared.http.rate_limit import Limit, RateLimit, RateLimiter, address
from shared.http.request_context import RequestContextMiddleware
from tests.harness.asgi import client_of
from tests.shared.http.token_issuer import TokenIssuer


async def account(request: Request) -> str:
    return request.headers["x-account"]


def make_app(cache: Cache, issuer: TokenIssuer) -> FastAPI:
    app = FastAPI()
    app.state.rate_limiter = RateLimiter(cache)
    app.state.token_verifier = issuer.verifier()
    install_problems(app)
    app.add_middleware(RequestContextMiddleware)

    @app.get("/things", dependencies=[Depends(RateLimit("default", "3/minute"))])
    async def things() -> None:
        pass

    @app.get("/quick", dependencies=[Depends(RateLimit("quick", "1/second", key=address))])
    async def quick() -> None:
        pass

    per_address = RateLimit("address", "9/hour", key=address)
    per_account = RateLimit("account", "2/minute", key=account)

    @app.post("/sessions", dependencies=[Depends(per_address), Depends(per_account)])
    async def sign_in() -> None:
        pass

    return app


@pytest.fixture
async def client(cache: Cache, issuer: TokenIssuer) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(make_app(cache, issuer)) as opened:
        yield opened


def rate_limit_fields(response: httpx2.Response) -> list[str]:
    """Return the RateLimit fields without the seconds, which depend on the clock."""
    return [re.sub(r";t=\d+", "", field) for field in response.headers.get_list("ratelimit")]


async def test_the_headers_count_down_until_a_429(client: httpx2.AsyncClient) -> None:
    responses = [await client.get("/things") for _ in range(4)]
    assert [response.status_code for response in responses] == [200, 200, 200, 429]
    assert [rate_limit_fields(response) for response in responses] == [
        ['"default";r=2'],
        ['"default";r=1'],
        ['"default";r=0'],
        ['"default";r=0'],
    ]
    assert {response.headers["ratelimit-policy"] for response in responses} == {'"default";q=3;w=60'}
    assert responses[3].json()["code"] == "rate_limited"
    assert 1 <= int(responses[3].headers["retry-after"]) <= 60


async def test_requests_are_allowed_again_after_retry_after(client: httpx2.AsyncClient) -> None:
    await client.get("/quick")
    rejected = await client.get("/quick")
    assert rejected.status_code == 429
    async with asyncio.timeout(int(rejected.headers["retry-after"]) + 2):
        while (await client.get("/quick")).status_code == 429:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.05)


async def test_requests_of_the_window_before_count_in_proportion(cache: Cache) -> None:
    limiter, limit = RateLimiter(cache), Limit(requests=4, window_seconds=3600)
    await limiter.hit(limit, "default", "ann")
    [name] = [name async for name in cache.client.scan_iter(f"{cache.prefix}*")]
    # 40 % of the present window is over, so 60 % of the 4 requests still count.
    now_milliseconds = int(time.time() * 1000)
    await cache.client.hset(name, mapping={"began": now_milliseconds - int(1.4 * 3_600_000), "current": 4})

    outcomes = [await limiter.hit(limit, "default", "ann") for _ in range(3)]

    assert [outcome and outcome[:2] for outcome in outcomes] == [(True, 1), (True, 0), (False, 0)]
    # Every 15 minutes one of the 4 requests stops counting: the next one does 6 minutes from now.
    assert [outcome and round(outcome[2], -1) for outcome in outcomes] == [360, 360, 360]


async def test_requests_two_windows_ago_do_not_count(cache: Cache) -> None:
    limiter, limit = RateLimiter(cache), Limit(requests=1, window_seconds=3600)
    await limiter.hit(limit, "default", "ann")
    [name] = [name async for name in cache.client.scan_iter(f"{cache.prefix}*")]
    await cache.client.hset(name, "began", str(int(time.time() * 1000) - 2 * 3_600_000))

    assert await limiter.hit(limit, "default", "ann") == (True, 0, 3600)


async def test_counts_are_kept_for_two_windows(cache: Cache) -> None:
    await RateLimiter(cache).hit(Limit(requests=9, window_seconds=60), "default", "ann")
    [name] = [name async for name in cache.client.scan_iter(f"{cache.prefix}*")]
    assert 110_000 < await cache.client.pttl(name) <= 120_000


async def test_a_restarted_valkey_gets_the_script_again(cache: Cache) -> None:
    limiter, limit = RateLimiter(cache), Limit(requests=9, window_seconds=60)
    remaining = []
    for _ in range(2):
        await cache.client.script_flush()
        outcome = await limiter.hit(limit, "default", "ann")
        assert outcome is not None
        remaining.append(outcome[1])
    assert remaining == [8, 7]


@pytest.mark.parametrize(
    ("text", "limit"),
    [("600/minute", (600, 60)), ("5 per 10 second", (5, 10)), ("1/2 hours", (1, 7_200)), ("9/DAY", (9, 86_400))],
)
def test_a_limit_is_parsed(text: str, limit: tuple[int, int]) -> None:
    assert Limit.parse(text) == limit


@pytest.mark.parametrize("text", ["", "10", "0/minute", "10/0 minute", "-1/minute", "10/fortnight", "1/minute;2/hour"])
def test_an_invalid_limit_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="no rate limit"):
        Limit.parse(text)


async def test_each_caller_has_a_separate_limit(client: httpx2.AsyncClient, issuer: TokenIssuer) -> None:
    ann, bob = uuid4(), uuid4()
    for _ in range(3):
        # A new token belongs to the same caller.
        await client.get("/things", headers=issuer.header(user_id=ann))
    assert (await client.get("/things", headers=issuer.header(user_id=ann))).status_code == 429
    assert (await client.get("/things", headers=issuer.header(user_id=bob))).status_code == 200
    assert (await client.get("/things")).status_code == 200


async def test_requests_with_invalid_tokens_share_the_limit_of_their_address(client: httpx2.AsyncClient) -> None:
    statuses = [
        (await client.get("/things", headers={"Authorization": f"Bearer {uuid4()}"})).status_code for _ in range(4)
    ]
    assert statuses == [200, 200, 200, 429]


async def test_a_route_with_several_limits_sends_all_and_applies_the_tightest(client: httpx2.AsyncClient) -> None:
    responses = [await client.post("/sessions", headers={"X-Account": "ann"}) for _ in range(3)]
    assert [response.status_code for response in responses] == [200, 200, 429]
    assert rate_limit_fields(responses[0]) == ['"address";r=8', '"account";r=1']
    assert (await client.post("/sessions", headers={"X-Account": "bob"})).status_code == 200


async def test_keys_are_stored_as_hashes(client: httpx2.AsyncClient, cache: Cache) -> None:
    await client.post("/sessions", headers={"X-Account": "ann@example.org"})
    names = [name async for name in cache.client.scan_iter(f"{cache.prefix}*")]
    assert names
    assert not any(b"ann" in name for name in names)


async def test_without_valkey_requests_are_allowed_and_one_warning_is_logged(issuer: TokenIssuer) -> None:
    unreachable = open_cache("redis://127.0.0.1:1/0")
    async with client_of(make_app(unreachable, issuer)) as client:
        with capture_logs() as logs:
            responses = [await client.get("/things") for _ in range(5)]
    await unreachable.close()
    assert {response.status_code for response in responses} == {200}
    assert rate_limit_fields(responses[0]) == []
    warnings = [line for line in logs if line["log_level"] == "warning"]
    assert warnings == [{"event": "rate_limits_unavailable", "log_level": "warning", "error": "ConnectionError"}]
