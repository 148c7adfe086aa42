"""Responses that routes build themselves."""

from pydantic import BaseModel
from starlette.responses import Response

from shared.http.responses import REPLAYED_HEADER, created, is_repeat


class Thing(BaseModel):
    name: str


def test_created_sends_the_body_the_location_and_the_etag() -> None:
    response = created(Thing(name="lamp"), location="/v1/things/1", version=3)

    assert response.status_code == 201
    assert bytes(response.body) == b'{"name":"lamp"}'
    assert dict(response.headers) == {
        "content-type": "application/json",
        "content-length": "15",
        "location": "/v1/things/1",
        "etag": '"3"',
    }


def test_created_sends_no_etag_without_a_version() -> None:
    assert "etag" not in created(Thing(name="lamp"), location="/v1/things/1").headers


def test_only_a_replayed_response_is_a_repeat() -> None:
    assert is_repeat(Response(headers={REPLAYED_HEADER: "true"}))
    assert not is_repeat(Response())
