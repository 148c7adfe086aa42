"""Responses that routes build themselves, because an idempotent route saves them together with its effect."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from shared.http.etags import etag_of

REPLAYED_HEADER = "Idempotency-Replayed"

Documented = dict[int | str, dict[str, Any]]

_ETAG = {
    "ETag": {
        "description": "The version, for If-Match and If-None-Match.",
        "schema": {"type": "string"},
        "example": '"1"',
    }
}
_LOCATION = {"Location": {"description": "The path of the resource.", "schema": {"type": "string"}}}
VERSIONED: Documented = {200: {"headers": _ETAG}}
"""The OpenAPI description of a response with an ETag."""
CREATED: Documented = {201: {"headers": {**_LOCATION, **_ETAG}}}
"""The OpenAPI description of what `created` returns."""


def created(body: BaseModel, *, location: str, version: int | None = None, beside: Sequence[object] = ()) -> Response:
    """Return 201 with the new resource, its address in `Location` and, if it has a version, its `ETag`.

    `beside` as in `etag_of`.
    """
    headers = {"Location": location}
    if version is not None:
        headers["ETag"] = etag_of(version, *beside)
    return json_response(body, status=201, headers=headers)


def versioned(body: BaseModel, *, version: int, beside: Sequence[object] = ()) -> Response:
    """Return 200 with a resource and its `ETag`. `beside` as in `etag_of`."""
    return json_response(body, headers={"ETag": etag_of(version, *beside)})


def json_response(body: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response with this body."""
    return Response(body.model_dump_json(), status, headers=headers, media_type="application/json")


def is_repeat(response: Response) -> bool:
    """Return whether this is the saved response of an earlier request with the same Idempotency-Key."""
    return REPLAYED_HEADER in response.headers
