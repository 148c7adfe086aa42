"""The versions that a change expects, and reads of what has not changed."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI, Response

from shared.errors import NotFound
from shared.http.etags import IfMatch, NotModifiedMiddleware, OptionalIfMatch, etag_of
from shared.http.methods import MethodsMiddleware
from shared.http.problems import install_problems
from tests.harness.asgi import client_of
from tests.harness.problems import problem

VERSION = 42
SHOWN = etag_of(VERSION, "7 left")


def make_app() -> FastAPI:
    app = FastAPI()
    install_problems(app)
    app.add_middleware(MethodsMiddleware, application=app)
    app.add_middleware(NotModifiedMiddleware)

    @app.put("/thing")
    async def replace(precondition: IfMatch) -> str:
        precondition.check(VERSION)
        return "changed"

    @app.post("/thing")
    async def change(precondition: OptionalIfMatch) -> str:
        precondition.check(VERSION)
        return "changed"

    @app.get("/thing")
    async def read(response: Response) -> str:
        response.headers["ETag"] = SHOWN
        response.headers["Cache-Control"] = "no-cache"
        return "a thing"

    @app.get("/weak")
    async def read_weak(response: Response) -> str:
        response.headers["ETag"] = 'W/"1"'
        return "a thing"

    @app.get("/lost")
    async def read_lost(response: Response) -> str:
        response.headers["ETag"] = SHOWN
        raise NotFound

    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(make_app()) as opened:
        yield opened


async def test_a_required_if_match_that_is_missing_is_a_428(client: httpx2.AsyncClient) -> None:
    assert problem(await client.put("/thing")) == (428, "precondition_required")


async def test_an_optional_if_match_that_is_missing_allows_any_version(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/thing")).status_code == 200


@pytest.mark.parametrize(
    "tags", ["*", ' "42" ', SHOWN, '"1", "42"', '"1",,"42",', 'W/"42", "42"', '"a,b", "42"', '"é", "42"']
)
async def test_a_change_is_made_if_one_of_the_tags_has_the_version(client: httpx2.AsyncClient, tags: str) -> None:
    for method in ("PUT", "POST"):
        response = await client.request(method, "/thing", headers={b"If-Match": tags.encode("latin-1")})
        assert (response.status_code, response.json()) == (200, "changed")


async def test_tags_may_be_in_several_headers(client: httpx2.AsyncClient) -> None:
    response = await client.put("/thing", headers=[("If-Match", '"1"'), ("If-Match", '"42"')])
    assert response.status_code == 200


@pytest.mark.parametrize(
    "tags",
    [
        'W/"42"',
        "42",
        '"abc"',
        '"1", "2"',
        '"42", *',
        "",
        ",",
        '""',
        '"-1"',
        '"42" "42"',
        '"42',
        '"042-"',
        '"4' + "2" * 30,
    ],
)
async def test_tags_without_the_version_are_a_412(client: httpx2.AsyncClient, tags: str) -> None:
    for method in ("PUT", "POST"):
        response = await client.request(method, "/thing", headers={"If-Match": tags})
        assert problem(response) == (412, "precondition_failed")


@pytest.mark.parametrize("tags", [SHOWN, f"W/{SHOWN}", f'"1", {SHOWN}', "*", f'"a,b",{SHOWN}'])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_read_of_what_is_known_is_a_304_without_a_body(
    client: httpx2.AsyncClient, method: str, tags: str
) -> None:
    response = await client.request(method, "/thing", headers={"If-None-Match": tags})

    assert (response.status_code, response.content) == (304, b"")
    assert dict(response.headers) == {"etag": SHOWN, "cache-control": "no-cache"}


@pytest.mark.parametrize("tags", ['"42"', etag_of(VERSION, "6 left"), '"1", "2"', "42", '"42', SHOWN.strip('"')])
async def test_a_read_of_something_else_is_a_200(client: httpx2.AsyncClient, tags: str) -> None:
    response = await client.get("/thing", headers={"If-None-Match": tags})
    assert (response.status_code, response.json(), response.headers["etag"]) == (200, "a thing", SHOWN)


async def test_reads_compare_weakly(client: httpx2.AsyncClient) -> None:
    response = await client.get("/weak", headers={"If-None-Match": '"1"'})
    assert response.status_code == 304


async def test_only_a_success_is_not_modified(client: httpx2.AsyncClient) -> None:
    assert problem(await client.get("/lost", headers={"If-None-Match": "*"})) == (404, "not_found")


async def test_a_change_ignores_if_none_match(client: httpx2.AsyncClient) -> None:
    assert (await client.post("/thing", headers={"If-None-Match": "*"})).status_code == 200


def test_an_etag_differs_with_all_that_is_shown() -> None:
    tags = {etag_of(1), etag_of(2), etag_of(1, 5), etag_of(1, "5"), etag_of(1, {"name": "Ada"}), etag_of(1, None)}
    assert len(tags) == 6
    assert etag_of(1, 5) == etag_of(1, 5)
