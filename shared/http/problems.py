"""Every error answer, as an RFC 9457 problem with a stable code."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope
from structlog.contextvars import get_contextvars

from shared.errors import NotFound, Refusal

MEDIA_TYPE = "application/problem+json"
_CHARACTER_NOT_IN_REPERTOIRE = "22021"  # PostgreSQL's code


class ValidationFailed(Refusal):
    """The request does not have the expected form."""

    status = 422
    code = "validation_failed"


class BodyMalformed(Refusal):
    """The body is not valid JSON."""

    status = 400
    code = "body_malformed"


class BodyTooLarge(Refusal):
    """The body is too large."""

    status = 413
    code = "body_too_large"


class MediaTypeUnsupported(Refusal):
    """The body must be sent as application/json."""

    status = 415
    code = "media_type_unsupported"


class MethodNotAllowed(Refusal):
    """This resource does not know that method."""

    status = 405
    code = "method_not_allowed"


class InternalError(Refusal):
    """Something went wrong on our side."""

    status = 500
    code = "internal_error"


class DatabaseUnavailable(Refusal):
    """The database is not available at the moment."""

    status = 503
    code = "database_unavailable"

    def __init__(self) -> None:
        # The connection may have been cut between the commit and its confirmation.
        super().__init__(
            "The request may or may not have been carried out. Send it again, with its Idempotency-Key if it has one.",
            headers={"Retry-After": "2"},
        )


class FieldProblem(BaseModel):
    """One thing wrong with the request."""

    source: str = Field(serialization_alias="in", examples=["body"])
    pointer: str = Field(description="JSON Pointer (RFC 6901) to the value.", examples=["/items/0/quantity"])
    message: str = Field(examples=["Input should be greater than 0"])
    code: str = Field(examples=["greater_than"])


class Problem(BaseModel):
    """RFC 9457 problem details. `code` is stable; `title` and `detail` are for people."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:orderly:problem:not_found"])
    title: str = Field(examples=["There is no such thing"])
    status: int = Field(examples=[404])
    code: str = Field(examples=["not_found"])
    detail: str | None = None
    instance: str | None = Field(default=None, examples=["/v1/orders/0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"])
    request_id: str | None = None
    errors: list[FieldProblem] | None = None


def problem_response(refusal: Refusal, *, scope: Scope) -> Response:
    content = refusal.extra | _members(type(refusal)) | {"instance": scope["path"]}
    if refusal.detail is not None:
        content["detail"] = refusal.detail
    if (request_id := get_contextvars().get("request_id")) is not None:
        content["request_id"] = request_id
    body = orjson.dumps(content, default=str)
    return Response(body, refusal.status, headers=refusal.headers, media_type=MEDIA_TYPE)


def _members(refusal: type[Refusal]) -> dict[str, Any]:
    return {
        "type": f"urn:orderly:problem:{refusal.code}",
        "title": refusal.title,
        "status": refusal.status,
        "code": refusal.code,
    }


def install_problems(app: FastAPI) -> None:
    """Answer refusals, validation errors and unknown routes as problems; faults are RequestContextMiddleware's."""
    app.exception_handler(Refusal)(_answer_refusal)
    app.exception_handler(RequestValidationError)(_answer_validation_error)
    app.exception_handler(HTTPException)(_answer_http_exception)
    app.exception_handler(DBAPIError)(_answer_database_error)


async def _answer_refusal(request: Request, refusal: Refusal) -> Response:
    return problem_response(refusal, scope=request.scope)


async def _answer_validation_error(request: Request, error: RequestValidationError) -> Response:
    return problem_response(_refusal_of(error.errors(), request), scope=request.scope)


def _refusal_of(errors: Any, request: Request) -> Refusal:
    for entry in errors:
        if entry["type"] == "json_invalid":
            return BodyMalformed()
        # FastAPI hands a body of another media type over as bytes, which then fails to be an object.
        if entry["loc"] == ("body",) and entry["type"] != "missing" and not _sends_json(request):
            return MediaTypeUnsupported()
    return ValidationFailed(extra={"errors": [_field_problem(entry) for entry in errors]})


def _sends_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def _field_problem(entry: Mapping[str, Any]) -> dict[str, str]:
    """Without the input: what was sent may be a password."""
    source, *path = entry["loc"]
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return {"in": source, "pointer": pointer, "message": entry["msg"], "code": entry["type"]}


async def _answer_database_error(request: Request, error: DBAPIError) -> Response:
    # JSON and URLs can carry a NUL, PostgreSQL's text cannot: one place here instead of a rule on every text field.
    if getattr(error.orig, "sqlstate", None) != _CHARACTER_NOT_IN_REPERTOIRE:
        raise error
    return problem_response(ValidationFailed("Text must not contain the NUL character."), scope=request.scope)


async def _answer_http_exception(request: Request, error: HTTPException) -> Response:
    refusal = _refusal_of_status(error.status_code)
    refusal.headers.update(error.headers or {})
    if refusal.status == MethodNotAllowed.status:
        refusal.headers["Allow"] = ", ".join(sorted(_allowed_methods(request)))
    return problem_response(refusal, scope=request.scope)


def _allowed_methods(request: Request) -> set[str]:
    """Of all routes with this path: Starlette names those of the first one only."""
    matching = (
        route
        for route in iter_route_contexts(request.app.routes)
        if (pattern := getattr(route, "path_regex", None)) and pattern.match(request.url.path)
    )
    return {method for route in matching for method in route.methods or ()}


def _refusal_of_status(status: int) -> Refusal:
    known = {refusal.status: refusal for refusal in (NotFound, MethodNotAllowed, BodyMalformed, BodyTooLarge)}
    if status in known:
        return known[status]()
    unnamed = HTTPStatus(status)
    members = {"status": status, "code": unnamed.name.lower(), "title": unnamed.phrase}
    refusal: type[Refusal] = type("HttpRefusal", (Refusal,), members)
    return refusal()


def responses(*refusals: type[Refusal]) -> dict[int | str, dict[str, Any]]:
    """Document these refusals on a route: `@router.post(..., responses=responses(OutOfStock, NotFound))`."""
    documented: dict[int | str, dict[str, Any]] = {}
    shown = list(refusals)
    if any(refusal.status == ValidationFailed.status for refusal in refusals):
        # A route's 422 replaces the application's, which any route can answer too.
        shown.append(ValidationFailed)
    for refusal in shown:
        entry = documented.setdefault(
            refusal.status,
            {
                "description": HTTPStatus(refusal.status).phrase,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        example = {"summary": refusal.title, "value": _members(refusal)}
        entry["content"][MEDIA_TYPE]["examples"][refusal.code] = example
    return documented
