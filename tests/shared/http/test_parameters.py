"""Parameters that a route does not document are refused, after the caller's access is checked."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import httpx2
import pytest
from fastapi import Depends, FastAPI, Query

from shared.errors import Unauthenticated
from shared.http.pagination import PageParams
from shared.http.parameters import check_parameters
from shared.http.problems import install_problems
from shared.http.spellings import Instant
from tests.harness.asgi import client_of
from tests.harness.problems import problem

ID = "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"


async def refuse() -> None:
    raise Unauthenticated


def make_app() -> FastAPI:
    app = FastAPI()
    install_problems(app)

    @app.get("/v1/things")
    async def listed(
        params: PageParams,
        *,
        user_id: UUID | None = None,
        type_: Annotated[str | None, Query(alias="type", max_length=20)] = None,
        since: Instant | None = None,
        active: bool = True,
        colour: Annotated[list[str], Query()] = [],  # noqa: B006 - FastAPI copies it
    ) -> list[Any]:
        return [params.limit, user_id, type_, since, active, colour]

    @app.get("/v1/things/{number}")
    async def read(number: int) -> int:
        return number

    @app.get("/v1/secrets", dependencies=[Depends(refuse)])
    async def secrets(limit: int) -> int:
        return limit

    @app.get("/health")
    async def health() -> str:
        return "ok"

    check_parameters(app)
    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(make_app()) as opened:
        yield opened


async def test_documented_parameters_are_taken(client: httpx2.AsyncClient) -> None:
    query = f"limit=7&user_id={ID}&type=a&since=2026-11-23T10:00:00.5%2B01:00&active=false&colour=red&colour=blue"
    response = await client.get(f"/v1/things?{query}")
    assert response.json() == [7, ID, "a", "2026-11-23T09:00:00.500000Z", False, ["red", "blue"]]


async def test_an_unknown_parameter_is_refused_and_the_known_ones_are_named(client: httpx2.AsyncClient) -> None:
    response = await client.get("/v1/things?colours=red&type_=a&limit=0")
    known = "Unknown parameter. This route takes active, colour, cursor, limit, since, type, user_id"

    assert problem(response) == (422, "validation_failed")
    assert response.json()["errors"] == [
        {"in": "query", "pointer": "/colours", "message": known, "code": "unknown_parameter"},
        {"in": "query", "pointer": "/type_", "message": known, "code": "unknown_parameter"},
    ]


async def test_a_route_without_parameters_says_so(client: httpx2.AsyncClient) -> None:
    response = await client.get("/v1/things/7?a/b=1")
    assert response.json()["errors"] == [
        {
            "in": "query",
            "pointer": "/a~1b",
            "message": "Unknown parameter. This route takes none",
            "code": "unknown_parameter",
        }
    ]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=+7", "int_parsing"),
        ("limit=%207", "int_parsing"),
        ("limit=7.0", "int_parsing"),
        ("limit=1_0", "int_parsing"),
        ("limit=07", "int_parsing"),
        ("limit=%D9%A7", "int_parsing"),
        ("limit=", "int_parsing"),
        ("active=1", "bool_parsing"),
        ("active=yes", "bool_parsing"),
        ("active=True", "bool_parsing"),
        (f"user_id={ID.replace('-', '')}", "uuid_parsing"),
        (f"user_id=urn:uuid:{ID}", "uuid_parsing"),
        ("since=1700000000", "datetime_parsing"),
        ("since=2026-11-23", "datetime_parsing"),
        ("since=2026-11-23T10:00:00", "datetime_parsing"),
        ("limit=7&limit=8", "repeated_parameter"),
    ],
)
async def test_another_spelling_is_refused(client: httpx2.AsyncClient, query: str, code: str) -> None:
    response = await client.get(f"/v1/things?{query}")
    assert problem(response) == (422, "validation_failed")
    assert [error["code"] for error in response.json()["errors"]] == [code]


@pytest.mark.parametrize("limit", ["10000000000000000000000", "9" * 5000, "-1"])
async def test_a_number_out_of_range_is_refused(client: httpx2.AsyncClient, limit: str) -> None:
    assert problem(await client.get(f"/v1/things?limit={limit}")) == (422, "validation_failed")


@pytest.mark.parametrize("number", ["1_7", "+17", "%2017", "0x11"])
async def test_another_spelling_in_the_path_is_refused(client: httpx2.AsyncClient, number: str) -> None:
    response = await client.get(f"/v1/things/{number}")
    assert problem(response) == (422, "validation_failed")
    assert [(error["in"], error["pointer"]) for error in response.json()["errors"]] == [("path", "/number")]


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("9999-12-31T23:59:59-01:00", datetime.max.replace(tzinfo=UTC)),
        ("0001-01-01T00:00:00%2B01:00", datetime.min.replace(tzinfo=UTC)),
    ],
)
async def test_a_time_that_utc_cannot_show_becomes_the_nearest(
    client: httpx2.AsyncClient, since: str, expected: datetime
) -> None:
    response = await client.get(f"/v1/things?since={since}")
    assert datetime.fromisoformat(response.json()[3]) == expected


async def test_who_has_no_access_learns_nothing_about_parameters(client: httpx2.AsyncClient) -> None:
    assert problem(await client.get("/v1/secrets?colour=red")) == (401, "unauthenticated")


async def test_other_routes_ignore_unknown_parameters(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/health?from=probe")).status_code == 200
