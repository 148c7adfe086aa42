"""The version that a change expects."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from shared.http.etags import IfMatch, etag_of
from shared.http.problems import install_problems
from tests.harness.asgi import client_of
from tests.harness.problems import problem


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()
    install_problems(app)

    @app.put("/thing")
    async def change(version: IfMatch) -> int:
        return version

    async with client_of(app) as opened:
        yield opened


async def test_an_etag_is_read_back_as_its_version(client: httpx2.AsyncClient) -> None:
    response = await client.put("/thing", headers={"If-Match": etag_of(42)})
    assert response.json() == 42


async def test_a_change_without_if_match_is_a_428(client: httpx2.AsyncClient) -> None:
    response = await client.put("/thing")
    assert problem(response) == (428, "precondition_required")


@pytest.mark.parametrize(
    "tag",
    [b'W/"42"', b"42", b'"abc"', b'"1", "2"', b"*", b'""', b'"-1"', '"٤٢"'.encode(), b'"' + b"9" * 30 + b'"'],
)
async def test_a_tag_of_another_form_is_a_412(client: httpx2.AsyncClient, tag: bytes) -> None:
    response = await client.put("/thing", headers={b"If-Match": tag})
    assert problem(response) == (412, "precondition_failed")
