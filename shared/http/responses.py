"""Responses that routes build themselves, because an idempotent route saves them together with its effect."""

from pydantic import BaseModel
from starlette.responses import Response

from shared.http.etags import etag_of

REPLAYED_HEADER = "Idempotency-Replayed"


def created(body: BaseModel, *, location: str, version: int | None = None) -> Response:
    """Return 201 with the new resource, its address in `Location` and, if it has a version, its `ETag`."""
    headers = {"Location": location}
    if version is not None:
        headers["ETag"] = etag_of(version)
    return Response(body.model_dump_json(), status_code=201, headers=headers, media_type="application/json")


def is_repeat(response: Response) -> bool:
    """Return whether this is the saved response of an earlier request with the same Idempotency-Key."""
    return REPLAYED_HEADER in response.headers
