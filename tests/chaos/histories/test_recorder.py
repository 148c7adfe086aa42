"""Every request is recorded once, with its answer or the lack of one, and without secrets."""

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as Received
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.demo.client import Client
from tests.chaos.histories.history import Outcome, Resource
from tests.chaos.histories.recorder import Recorder, RecordingTransport

CLAIMS = urlsafe_b64encode(json.dumps({"sub": "ada"}).encode()).decode().rstrip("=")
TOKEN = f"header.{CLAIMS}.signature"


def client_of(recorder: Recorder, answer: Callable[[Received], Awaitable[Response]]) -> httpx2.AsyncClient:
    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST", "PATCH"])])
    transport = RecordingTransport(recorder, "session", httpx2.ASGITransport(app=app))
    return httpx2.AsyncClient(base_url="http://test", transport=transport)


async def test_a_change_is_recorded_with_what_decides_about_it() -> None:
    async def answer(_request: Received) -> Response:
        return JSONResponse({"id": "ada", "name": "Ada L."}, headers={"ETag": '"3"'})

    recorder = Recorder()
    async with client_of(recorder, answer) as http:
        headers = {"Authorization": f"Bearer {TOKEN}", "If-Match": '"2"', "Idempotency-Key": "key"}
        response = await http.patch("/v1/users/me", json={"name": "Ada L."}, headers=headers)
    assert response.json() == {"id": "ada", "name": "Ada L."}
    (request,) = recorder.requests
    assert request.answer
    assert (request.caller, request.resource) == ("ada", Resource("users", "ada"))
    assert (request.if_match, request.key, request.sent) == (2, "key", {"name": "Ada L."})
    assert (request.answer.status, request.answer.version, request.answer.body) == (200, 3, response.json())
    assert 0 <= request.started <= request.ended
    assert request.has_changed


async def test_a_repetition_is_a_request_of_its_own() -> None:
    answers = [Response(status_code=503), JSONResponse({"id": "1"}, 201)]

    async def answer(_request: Received) -> Response:
        return answers.pop(0)

    recorder = Recorder()
    async with client_of(recorder, answer) as http:
        await Client(http).send("POST", "/v1/orders", json={}, key="key")
    assert [(one.key, one.outcome) for one in recorder.requests] == [
        ("key", Outcome.UNKNOWN),
        ("key", Outcome.SUCCESS),
    ]


async def test_a_connection_that_fails_has_an_unknown_outcome() -> None:
    recorder = Recorder()
    with pytest.raises(httpx2.ConnectError):
        async with recorder.client("session", base_url="http://127.0.0.1:9") as http:
            await http.get("/v1/orders/1")
    (request,) = recorder.requests
    assert (request.outcome, request.error, request.resource) == (
        Outcome.UNKNOWN,
        "ConnectError",
        Resource("orders", "1"),
    )


async def test_a_request_that_is_cancelled_has_an_unknown_outcome() -> None:
    is_received = asyncio.Event()

    async def answer(_request: Received) -> Response:
        is_received.set()
        await asyncio.Event().wait()
        return Response()

    recorder = Recorder()
    async with client_of(recorder, answer) as http:
        sending = asyncio.create_task(http.post("/v1/orders"))
        await is_received.wait()
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
    (request,) = recorder.requests
    assert (request.outcome, request.error) == (Outcome.UNKNOWN, "CancelledError")


async def test_a_history_has_neither_passwords_nor_tokens() -> None:
    async def answer(_request: Received) -> Response:
        return JSONResponse({"access_token": "secret-1", "refresh_token": "secret-2"}, 201)

    recorder = Recorder()
    async with client_of(recorder, answer) as http:
        body = {"email": "ada@example.com", "password": "secret-3"}
        await http.post("/v1/sessions", json=body, headers={"Authorization": f"Bearer {TOKEN}"})
    assert recorder.requests[0].caller == "ada"
    assert "secret" not in repr(recorder.requests)
    assert TOKEN not in repr(recorder.requests)


async def test_the_list_of_a_page_is_recorded_as_ids() -> None:
    async def answer(_request: Received) -> Response:
        return JSONResponse({"items": [{"id": "1"}, {"id": "2"}], "next_cursor": None})

    recorder = Recorder()
    async with client_of(recorder, answer) as http:
        await http.get("/v1/orders")
    assert recorder.requests[0].body == {"ids": ["1", "2"], "is_complete": True}


async def test_a_404_of_a_gateway_without_routes_has_an_unknown_outcome_and_one_of_a_service_has_not() -> None:
    answers = [Response("404 page not found", 404), JSONResponse({"code": "order_not_found"}, 404)]

    async def answer(_request: Received) -> Response:
        return answers.pop(0)

    recorder = Recorder()
    async with client_of(recorder, answer) as http:
        for _ in range(2):
            await http.get("/v1/orders/1")
    assert [request.outcome for request in recorder.requests] == [Outcome.UNKNOWN, Outcome.CLIENT_ERROR]
