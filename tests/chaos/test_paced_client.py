"""The campaigns' client repeats a request whose answer does not tell whether it was carried out."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from deploy.demo.client import Answer
from tests.chaos.system_campaign import PacedClient
from tests.harness.asgi import client_of


async def test_a_404_of_a_gateway_without_routes_is_repeated_with_the_same_key() -> None:
    answers: list[Response] = [PlainTextResponse("404 page not found", 404), JSONResponse({"id": "1"}, 201)]
    keys: list[str | None] = []

    async def answer(request: Request) -> Response:
        keys.append(request.headers.get("Idempotency-Key"))
        return answers.pop(0)

    async with client_of(Starlette(routes=[Route("/v1/users", answer, methods=["POST"])])) as http:
        client = PacedClient(http)
        final = await client.send("POST", "/v1/users", json={}, key="run-1")

    assert final == Answer(201, {"id": "1"})
    assert keys == ["run-1", "run-1"]
    assert client.retries == {"gateway_404": 1}


async def test_a_404_of_a_service_is_final() -> None:
    async def answer(_request: Request) -> Response:
        return JSONResponse({"code": "order_not_found"}, 404)

    async with client_of(Starlette(routes=[Route("/v1/orders/1", answer)])) as http:
        final = await PacedClient(http).send("GET", "/v1/orders/1")

    assert (final.status, final.code) == (404, "order_not_found")
