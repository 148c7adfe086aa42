"""The demo's client repeats a request after a transient answer, with the same Idempotency-Key."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from deploy.demo.accounts import Account
from deploy.demo.client import Answer, Client, RequestFailed
from tests.harness.asgi import client_of

CREATED = JSONResponse({"id": "1"}, status_code=201)
UNAVAILABLE = PlainTextResponse("Bad Gateway", status_code=502)
EXPIRED = JSONResponse({"code": "token_expired"}, status_code=401)


class Server:
    """Gives its answers one after the other, and keeps the requests."""

    def __init__(self, *answers: Response | type[httpx2.TransportError]) -> None:
        self._answers = list(answers)
        self.requests: list[tuple[str | None, str | None, Any]] = []

    async def answer(self, request: Request) -> Response:
        headers = request.headers
        self.requests.append((headers.get("idempotency-key"), headers.get("authorization"), await request.json()))
        answer = self._answers.pop(0)
        if isinstance(answer, Response):
            return answer
        raise answer("the connection broke")

    async def call(
        self, send: Callable[[Client], Awaitable[Answer]], *, timeout_seconds: float = 10
    ) -> tuple[Answer, Client]:
        app = Starlette(routes=[Route("/{path:path}", self.answer, methods=["POST"])])
        async with client_of(app) as http:
            client = Client(http, timeout_seconds=timeout_seconds)
            return await send(client), client


async def _place(client: Client) -> Answer:
    return await client.send("POST", "/v1/orders", json={"items": []}, token="t", key="run-1")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UNAVAILABLE, "502 status_502"),
        (JSONResponse({"code": "keys_unavailable"}, status_code=503), "503 keys_unavailable"),
        (JSONResponse({"code": "idempotency_key_in_use"}, status_code=409), "409 idempotency_key_in_use"),
        (httpx2.ReadError, "ReadError"),
    ],
)
async def test_a_request_is_repeated_with_its_key_after_a_transient_answer(
    error: Response | type[httpx2.TransportError], reason: str
) -> None:
    server = Server(error, CREATED)

    answer, client = await server.call(_place)

    assert answer == Answer(201, {"id": "1"})
    assert server.requests == [("run-1", "Bearer t", {"items": []})] * 2
    assert client.retries == {reason: 1}


async def test_a_client_error_is_a_final_answer() -> None:
    server = Server(JSONResponse({"code": "out_of_stock"}, status_code=409))

    answer, _ = await server.call(_place)

    assert (answer.status, answer.code, answer.is_success) == (409, "out_of_stock", False)


async def test_a_request_fails_after_its_timeout() -> None:
    with pytest.raises(RequestFailed, match="POST /v1/orders failed for 0 s, the last time with: 502 status_502"):
        await Server(UNAVAILABLE).call(_place, timeout_seconds=0)


async def test_an_account_with_an_expired_token_signs_in_again() -> None:
    account = Account("ada@example.com", "secret", token="old")
    server = Server(EXPIRED, JSONResponse({"access_token": "new", "refresh_token": "next"}, status_code=201), CREATED)

    answer, _ = await server.call(lambda client: account.send(client, "POST", "/v1/orders", json={}, key="run-1"))

    assert answer.is_success
    assert server.requests == [
        ("run-1", "Bearer old", {}),
        (None, None, {"email": "ada@example.com", "password": "secret"}),
        ("run-1", "Bearer new", {}),
    ]
