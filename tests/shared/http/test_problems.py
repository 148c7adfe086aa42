"""Every error response is a problem: its members, its code, and what it must not contain."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, Header, HTTPException, Query
from pydantic import BaseModel, Field, SecretStr

from shared.errors import Conflict, NotFound, Problem
from shared.http.body_limit import BodyLimitMiddleware
from shared.http.openapi import complete_openapi
from shared.http.problems import install_problems, responses
from shared.http.request_context import RequestContextMiddleware
from tests.harness.asgi import client_of


class OutOfStock(Problem):
    """Not enough stock.

    The second line is for developers.
    """

    status = 409
    code = "out_of_stock"


class Line(BaseModel):
    sku: str
    quantity: Annotated[int, Field(gt=0)]


class Basket(BaseModel):
    lines: list[Line]
    password: Annotated[SecretStr | None, Field(min_length=12)] = None


def make_app() -> FastAPI:
    app = FastAPI()
    install_problems(app)
    complete_openapi(app)
    app.add_middleware(BodyLimitMiddleware, max_bytes=1000)
    app.add_middleware(RequestContextMiddleware)

    @app.post("/baskets", responses=responses(OutOfStock, Conflict, NotFound))
    async def add(basket: Basket) -> int:
        return len(basket.lines)

    @app.get("/sold-out")
    async def sold_out() -> None:
        raise OutOfStock("2 left", extra={"sku": "A1", "status": 200}, headers={"Retry-After": "7"})

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("the password is hunter2")

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "short and stout")

    router = APIRouter(prefix="/list")

    @router.put("")
    async def replace() -> None:
        pass

    @router.get("")
    async def listed(limit: Annotated[int, Query(le=5)], x_version: Annotated[int, Header()] = 1) -> int:
        return limit + x_version

    app.include_router(router)
    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(make_app()) as opened:
        yield opened


def problem(response: httpx2.Response) -> dict[str, Any]:
    """Return the body, after checking what every problem has in common."""
    body: dict[str, Any] = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert body["type"] == f"urn:orderly:problem:{body['code']}"
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["instance"] == response.request.url.path
    return body


async def test_a_problem_has_all_its_members_and_headers(client: httpx2.AsyncClient) -> None:
    response = await client.get("/sold-out?secret=1", headers={"X-Request-Id": "request-17"})
    assert response.status_code == 409
    assert response.headers["retry-after"] == "7"
    assert problem(response) == {
        "type": "urn:orderly:problem:out_of_stock",
        "title": "Not enough stock",
        "status": 409,
        "code": "out_of_stock",
        "detail": "2 left",
        "instance": "/sold-out",
        "request_id": "request-17",
        "sku": "A1",
    }


async def test_a_validation_error_points_to_each_invalid_field(client: httpx2.AsyncClient) -> None:
    response = await client.post("/baskets", json={"lines": [{"sku": "A", "quantity": 1}, {"sku": "B", "quantity": 0}]})
    assert response.status_code == 422
    assert problem(response)["code"] == "validation_failed"
    assert problem(response)["errors"] == [
        {
            "in": "body",
            "pointer": "/lines/1/quantity",
            "message": "Input should be greater than 0",
            "code": "greater_than",
        }
    ]


async def test_a_validation_error_names_the_source_of_each_parameter(client: httpx2.AsyncClient) -> None:
    response = await client.get("/list?limit=9", headers={"X-Version": "new"})
    assert [(error["in"], error["pointer"]) for error in problem(response)["errors"]] == [
        ("query", "/limit"),
        ("header", "/x-version"),
    ]


async def test_a_validation_error_does_not_contain_the_input(client: httpx2.AsyncClient) -> None:
    response = await client.post("/baskets", json={"lines": "hunter2", "password": "hunter2"})
    assert len(problem(response)["errors"]) == 2
    assert "hunter2" not in response.text


async def test_an_unknown_route_is_a_problem(client: httpx2.AsyncClient) -> None:
    response = await client.get("/nowhere")
    assert (response.status_code, problem(response)["code"]) == (404, "not_found")


async def test_an_unknown_method_is_a_problem_with_the_allowed_methods(client: httpx2.AsyncClient) -> None:
    response = await client.delete("/list")
    assert (response.status_code, problem(response)["code"]) == (405, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD, PUT"


@pytest.mark.parametrize("path", ["/no%77here", "/%C3%A9", "/a%2Fb", "/a b%zz", "/%ff%00", "/é"])
async def test_the_instance_is_the_path_as_it_was_sent(client: httpx2.AsyncClient, path: str) -> None:
    response = await client.get(f"{path}?secret=1")
    assert response.json()["instance"] == response.request.url.raw_path.decode().partition("?")[0]


async def test_malformed_json_is_a_400(client: httpx2.AsyncClient) -> None:
    response = await client.post("/baskets", content=b'{"lines": [', headers={"Content-Type": "application/json"})
    assert (response.status_code, problem(response)["code"]) == (400, "body_malformed")


@pytest.mark.parametrize("content", [b"\xff\xfe{}", b'{"lines": "\xff"}'])
async def test_json_that_is_not_utf8_is_a_400(client: httpx2.AsyncClient, content: bytes) -> None:
    response = await client.post("/baskets", content=content, headers={"Content-Type": "application/json"})
    assert (response.status_code, problem(response)["code"]) == (400, "body_malformed")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""])
async def test_another_media_type_is_a_415(client: httpx2.AsyncClient, media_type: str) -> None:
    response = await client.post("/baskets", content=b'{"lines": []}', headers={"Content-Type": media_type})
    assert (response.status_code, problem(response)["code"]) == (415, "media_type_unsupported")


async def test_a_missing_body_is_a_422(client: httpx2.AsyncClient) -> None:
    response = await client.post("/baskets")
    assert (response.status_code, problem(response)["errors"][0]["code"]) == (422, "missing")


async def test_an_unexpected_error_reveals_only_the_request_id(client: httpx2.AsyncClient) -> None:
    response = await client.get("/broken")
    assert response.status_code == 500
    assert problem(response) == {
        "type": "urn:orderly:problem:internal_error",
        "title": "An unexpected error occurred on our side",
        "status": 500,
        "code": "internal_error",
        "instance": "/broken",
        "request_id": response.headers["x-request-id"],
    }


async def test_an_exception_of_the_framework_is_a_problem(client: httpx2.AsyncClient) -> None:
    response = await client.get("/teapot")
    assert (response.status_code, problem(response)["code"]) == (418, "im_a_teapot")


async def test_a_content_length_over_the_limit_is_a_413(client: httpx2.AsyncClient) -> None:
    response = await client.post("/baskets", json={"lines": [], "password": "x" * 1000})
    assert (response.status_code, problem(response)["code"]) == (413, "body_too_large")


async def test_a_body_over_the_limit_without_content_length_is_a_413(client: httpx2.AsyncClient) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 100
            yield b"x" * 100

    response = await client.post("/baskets", content=endless(), headers={"Content-Type": "application/json"})
    assert "content-length" not in response.request.headers
    assert read < 2000, "the rest of the body is not read"
    assert (response.status_code, problem(response)["code"]) == (413, "body_too_large")


async def test_a_body_at_the_limit_is_accepted(client: httpx2.AsyncClient) -> None:
    content = b'{"lines": []' + b" " * 987 + b"}"
    assert len(content) == 1000
    response = await client.post("/baskets", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 200


def test_the_document_shows_the_problems_that_a_route_lists() -> None:
    document = make_app().openapi()
    documented = document["paths"]["/baskets"]["post"]["responses"]
    assert {"404", "409"} <= set(documented)
    conflict = documented["409"]["content"]
    assert set(conflict) == {"application/problem+json"}
    assert set(conflict["application/problem+json"]["examples"]) == {"out_of_stock", "conflict"}
    assert conflict["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/ProblemDetails"}
    assert {"ProblemDetails", "FieldProblem"} <= set(document["components"]["schemas"])


def test_every_reference_in_the_document_has_a_target() -> None:
    document = make_app().openapi()
    schemas = document["components"]["schemas"]

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    assert references(document)
    assert {reference.removeprefix("#/components/schemas/") for reference in references(document)} <= set(schemas)
