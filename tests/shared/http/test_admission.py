"""Bounds of a process: some requests are processed at once, a few wait for a moment, and the others get a 503."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Request
from prometheus_client import REGISTRY
from starlette.responses import StreamingResponse
from structlog.testing import capture_logs

from shared.cache import Cache
from shared.http.admission import Admission, Shed, _ShedLog
from shared.http.application import create_application
from shared.settings import ServiceSettings
from tests.harness.asgi import client_of
from tests.harness.problems import problem
from tests.harness.waiting import until
from tests.shared.http.token_issuer import TokenIssuer

PLACES, QUEUE = 2, 1


class Held:
    """Requests that end once the test sets `may_end`."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.begun = 0

    async def hold(self) -> None:
        self.begun += 1
        await self.may_end.wait()


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture(autouse=True)
def new_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count refused requests anew: a test that ends within a second of one leaves a count that nothing logs."""
    monkeypatch.setattr("shared.http.admission._log", _ShedLog())


@pytest.fixture
async def client(held: Held, cache: Cache, issuer: TokenIssuer) -> AsyncIterator[httpx2.AsyncClient]:
    router = APIRouter()

    @router.get("/held")
    async def hold() -> None:
        await held.hold()

    @router.post("/quick")
    async def quick(request: Request) -> int:
        return len(await request.body())

    @router.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"first"
            await held.hold()
            yield b"second"

        return StreamingResponse(parts())

    app = _application(router, cache=cache, issuer=issuer)
    # On a busy machine, the others may not be refused within the half second for which a request waits.
    given = [each.kwargs["admission"] for each in app.user_middleware if "admission" in each.kwargs]
    cast("Admission", given[0])._max_wait_seconds = 60
    async with client_of(app) as opened:
        yield opened


def _application(router: APIRouter, *, cache: Cache, issuer: TokenIssuer) -> FastAPI:
    for path in ("/health/live", "/.well-known/jwks.json", "/internal/revoked-sessions"):
        router.add_api_route(path, _nothing)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield

    return create_application(
        name="things",
        description="A test service.",
        settings=ServiceSettings(
            database_url="postgresql://127.0.0.1/unused",
            valkey_url="redis://127.0.0.1/0",
            kafka_bootstrap_servers="127.0.0.1:1",
            http_port=1,
            max_concurrent_requests=PLACES,
            max_waiting_requests=QUEUE,
        ),
        routers=[router],
        lifespan=lifespan,
        state={"cache": cache, "token_verifier": issuer.verifier()},
    )


async def _nothing() -> None:
    pass


def shed(reason: str) -> float:
    return REGISTRY.get_sample_value("http_requests_shed_total", {"reason": reason}) or 0.0


def reached(held: Held, number: int) -> Callable[[], Any]:
    async def has_begun() -> bool:
        return held.begun == number

    return has_begun


async def test_the_surplus_is_refused_at_once_and_a_free_place_is_taken(client: httpx2.AsyncClient, held: Held) -> None:
    refused_before = shed("queue_full")
    with capture_logs() as logs:
        admitted = [asyncio.create_task(client.get("/held")) for _ in range(PLACES)]
        await until(reached(held, PLACES), what="every place is taken")
        waiting = asyncio.create_task(client.post("/quick", content=b"body"))
        await until(_is_waiting, what="a request waits")
        refused = [await client.post("/quick", headers={"X-Request-Id": "given-by-client"}) for _ in range(5)]
        never_refused = [
            await client.get(path)
            for path in ("/health/live", "/metrics", "/.well-known/jwks.json", "/internal/revoked-sessions")
        ]
        held.may_end.set()
        answers = [await answer for answer in (*admitted, waiting)]
        after = await client.post("/quick")
        await until(lambda: _logged(logs, "requests_shed"), what="the refused requests are logged")

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert (answers[-1].json(), after.status_code) == (4, 200)
    assert [problem(answer) for answer in refused] == [(503, "overloaded")] * 5
    assert {answer.headers["retry-after"] for answer in refused} <= {"1", "2", "3"}
    assert refused[0].headers["x-request-id"] == "given-by-client"
    assert refused[0].json() == {
        "type": "urn:orderly:problem:overloaded",
        "title": "The service has more requests than it can process at the moment",
        "status": 503,
        "code": "overloaded",
        "detail": "Send the request again later, with the same Idempotency-Key if it has one.",
        "instance": "/quick",
        "request_id": "given-by-client",
    }
    assert [answer.status_code for answer in never_refused] == [200] * 4
    assert shed("queue_full") == refused_before + 5
    # One line for all of them: a line for each would cost more than refusing it.
    assert [line["requests"] for line in logs if line["event"] == "requests_shed"] == [{"queue_full": 5}]
    assert [line["status"] for line in logs if line["event"] == "request_finished"].count(503) == 5
    assert {line["log_level"] for line in logs if line.get("status") == 503} == {"debug"}


async def _is_waiting() -> bool:
    return REGISTRY.get_sample_value("http_requests_waiting") == QUEUE


async def _logged(logs: list[Any], event: str) -> bool:
    return any(line["event"] == event for line in logs)


async def test_a_stream_gives_its_place_back_once_it_has_begun(client: httpx2.AsyncClient, held: Held) -> None:
    streams = [asyncio.create_task(client.get("/stream")) for _ in range(PLACES)]
    await until(reached(held, PLACES), what="every stream has begun")
    assert (await client.post("/quick")).status_code == 200
    held.may_end.set()
    assert [(await stream).text for stream in streams] == ["firstsecond"] * PLACES
    assert REGISTRY.get_sample_value("http_requests_in_progress") == 0


async def test_a_slow_sender_takes_no_place(client: httpx2.AsyncClient) -> None:
    may_send, begun = asyncio.Event(), list[bool]()

    async def slow_body() -> AsyncIterator[bytes]:
        yield b"first"
        begun.append(True)
        await may_send.wait()
        yield b"second"

    async def have_begun() -> bool:
        return len(begun) >= PLACES

    slow = [asyncio.create_task(client.post("/quick", content=slow_body())) for _ in range(PLACES + QUEUE)]
    await until(have_begun, what="as many have begun to send as there are places")
    assert (await client.post("/quick")).status_code == 200
    may_send.set()
    assert [(await answer).json() for answer in slow] == [len(b"firstsecond")] * (PLACES + QUEUE)


async def test_nobody_waits_longer_than_the_bound_nor_soon_after_a_503() -> None:
    admission = Admission(max_in_progress=1, max_waiting=10, max_wait_seconds=0.05)
    await admission.enter()
    with pytest.raises(Shed) as refused:
        await admission.enter()
    assert refused.value.reason == "waited_too_long"
    admission.note_overload({"state": {}}, refused.value.reason)
    assert admission.refuses("/v1/things")
    with pytest.raises(Shed) as refused:
        await admission.enter()
    assert refused.value.reason == "queue_full"
    admission.leave()
    await admission.enter()


async def test_who_gives_up_waiting_leaves_the_place_to_the_next() -> None:
    admission = Admission(max_in_progress=1, max_waiting=10, max_wait_seconds=60)
    await admission.enter()
    first, second = [asyncio.create_task(admission.enter()) for _ in range(2)]
    await asyncio.sleep(0)
    admission.leave()  # the place is the first one's, which is cancelled before it runs
    first.cancel()
    async with asyncio.timeout(60):
        await second
    assert first.cancelled()
    admission.leave()
    await admission.enter()
