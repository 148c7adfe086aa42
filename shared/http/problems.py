"""Error responses: every one is an RFC 9457 problem with a stable code."""

import random
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

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

from shared.errors import NotFound, Problem

MEDIA_TYPE = "application/problem+json"
MAX_RETRY_AFTER_SECONDS = 3
"""The longest `Retry-After` of an overloaded process; the shortest is 1 s."""
_CHARACTER_NOT_IN_REPERTOIRE = "22021"  # PostgreSQL's code
_SENT_AS_THEY_ARE = "".join(map(chr, range(0x21, 0x7F)))
"""Characters of a path that need no encoding. Others are no part of a URI, and a client should not have sent them."""


class ValidationFailed(Problem):
    """The request is invalid."""

    status = 422
    code = "validation_failed"


class BodyMalformed(Problem):
    """The request body is not valid JSON."""

    status = 400
    code = "body_malformed"


class BodyTooLarge(Problem):
    """The request body is too large."""

    status = 413
    code = "body_too_large"


class MediaTypeUnsupported(Problem):
    """The request body must be sent as application/json."""

    status = 415
    code = "media_type_unsupported"


class MethodNotAllowed(Problem):
    """The method is not allowed for this resource."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, allowed: Collection[str] = ()) -> None:
        super().__init__(headers={"Allow": ", ".join(sorted(with_head(allowed)))})


def with_head(methods: Collection[str]) -> set[str]:
    """Return the methods of a route, with HEAD if there is GET."""
    return {*methods, *(("HEAD",) if "GET" in methods else ())}


class InternalError(Problem):
    """An unexpected error occurred on our side."""

    status = 500
    code = "internal_error"


class DatabaseUnavailable(Problem):
    """The database is temporarily unavailable."""

    status = 503
    code = "database_unavailable"

    def __init__(self) -> None:
        # The connection may have been lost between the commit and its confirmation.
        super().__init__(
            "The request may or may not have been processed. Retry it, with the same Idempotency-Key if it has one.",
            headers={"Retry-After": "2"},
        )


class Overloaded(Problem):
    """The service has more requests than it can process at the moment."""

    status = 503
    code = "overloaded"

    def __init__(self) -> None:
        super().__init__(
            "Send the request again later, with the same Idempotency-Key if it has one.",
            # Not the same for all, so that they do not come back together.
            headers={"Retry-After": str(random.randint(1, MAX_RETRY_AFTER_SECONDS))},  # noqa: S311 - no secret
        )


class FieldProblem(BaseModel):
    """One invalid value in the request."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    source: str = Field(serialization_alias="in", examples=["body"])
    """The part of the request that holds the value: `body`, `query`, `path` or `header`."""
    pointer: str = Field(examples=["/items/0/quantity"])
    """A JSON Pointer (RFC 6901) to the value; empty for the body as a whole."""
    message: str = Field(examples=["Input should be greater than 0"])
    """A description of the error, for developers."""
    code: str = Field(examples=["greater_than"])
    """A stable code for what is wrong."""


class ProblemDetails(BaseModel):
    """An error, as RFC 9457 problem details. Some codes come with further members."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    type: str = Field(examples=["urn:orderly:problem:not_found"])
    """The `code` as a URN."""
    title: str = Field(examples=["The resource does not exist"])
    """A summary of the problem, the same each time it occurs."""
    status: int = Field(examples=[404])
    """The HTTP status code."""
    code: str = Field(examples=["not_found"])
    """A stable code for programs to depend on."""
    detail: str | None = None
    """The details of this occurrence."""
    instance: str | None = Field(default=None, examples=["/v1/orders/0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"])
    """The path of the request."""
    request_id: str | None = None
    """The `X-Request-Id` of the request. Include it when you report the problem."""
    errors: list[FieldProblem] | None = None
    """The invalid values, if the code is `validation_failed`."""


def problem_response(problem: Problem, *, scope: Scope) -> Response:
    """Render a problem. Its own members win over `extra`, so that `extra` cannot change the status or code."""
    content = problem.extra | _members(type(problem)) | {"instance": sent_path(scope)}
    if problem.detail is not None:
        content["detail"] = problem.detail
    if (request_id := get_contextvars().get("request_id")) is not None:
        content["request_id"] = request_id
    body = orjson.dumps(content, default=str)
    return Response(body, problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def sent_path(scope: Scope) -> str:
    """Return the request's path as the client sent it, with its percent-encoding."""
    raw: bytes | None = scope.get("raw_path")
    return quote(scope["path"]) if raw is None else quote(raw.partition(b"?")[0], safe=_SENT_AS_THEY_ARE)


def _members(problem: type[Problem]) -> dict[str, Any]:
    return {
        "type": f"urn:orderly:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
    }


def install_problems(app: FastAPI) -> None:
    """Respond to client errors, validation errors and unknown routes with problems.

    RequestContextMiddleware responds to unexpected errors.
    """
    app.exception_handler(Problem)(_handle_problem)
    app.exception_handler(RequestValidationError)(_handle_validation_error)
    app.exception_handler(HTTPException)(_handle_http_exception)
    app.exception_handler(DBAPIError)(_handle_database_error)


async def _handle_problem(request: Request, problem: Problem) -> Response:
    return problem_response(problem, scope=request.scope)


async def _handle_validation_error(request: Request, error: RequestValidationError) -> Response:
    return problem_response(_problem_of(error.errors(), request), scope=request.scope)


def _problem_of(errors: Any, request: Request) -> Problem:
    for entry in errors:
        if entry["type"] == "json_invalid":
            return BodyMalformed()
        # FastAPI passes on a body of another media type as bytes, which then fail validation as an object.
        if entry["loc"] == ("body",) and entry["type"] != "missing" and not _sends_json(request):
            return MediaTypeUnsupported()
    return ValidationFailed(extra={"errors": [_field_problem(entry) for entry in errors]})


def _sends_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def _field_problem(entry: Mapping[str, Any]) -> dict[str, str]:
    """Describe one validation error without the input: it may be a password."""
    source, *path = entry["loc"]
    return field_error(source, path, message=entry["msg"], code=entry["type"])


def field_error(source: str, path: Sequence[object], *, message: str, code: str) -> dict[str, str]:
    """Return the members of a FieldProblem."""
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return {"in": source, "pointer": pointer, "message": message, "code": code}


async def _handle_database_error(request: Request, error: DBAPIError) -> Response:
    # JSON and URLs can contain NUL, PostgreSQL's text cannot. Handling it here saves a rule on every text field.
    if getattr(error.orig, "sqlstate", None) != _CHARACTER_NOT_IN_REPERTOIRE:
        raise error
    return problem_response(ValidationFailed("Text must not contain the NUL character."), scope=request.scope)


async def _handle_http_exception(request: Request, error: HTTPException) -> Response:
    if error.status_code == MethodNotAllowed.status:
        return problem_response(MethodNotAllowed(_allowed_methods(request)), scope=request.scope)
    problem = _problem_of_status(error.status_code)
    problem.headers.update(error.headers or {})
    return problem_response(problem, scope=request.scope)


def _allowed_methods(request: Request) -> set[str]:
    """Return the methods of all routes with this path: Starlette's Allow header names only those of the first one."""
    matching = (
        route
        for route in iter_route_contexts(request.app.routes)
        if (pattern := getattr(route, "path_regex", None)) and pattern.match(request.url.path)
    )
    return {method for route in matching for method in route.methods or ()}


def _problem_of_status(status: int) -> Problem:
    known: dict[int, type[Problem]] = {problem.status: problem for problem in (NotFound, BodyMalformed, BodyTooLarge)}
    if status in known:
        return known[status]()
    standard = HTTPStatus(status)
    members = {"status": status, "code": standard.name.lower(), "title": standard.phrase}
    problem: type[Problem] = type("HttpProblem", (Problem,), members)
    return problem()


def responses(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses for these problems.

    Use it on a route, `@router.post(..., responses=responses(OutOfStock, NotFound))`, for the problems of its own
    rules only: `shared.http.openapi` adds those that its signature implies.
    """
    documented: dict[int | str, dict[str, Any]] = {}
    for problem in problems:
        entry = documented.setdefault(
            problem.status,
            {
                "description": HTTPStatus(problem.status).phrase,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}, "examples": {}}},
            },
        )
        example = {"summary": problem.title, "value": _members(problem)}
        entry["content"][MEDIA_TYPE]["examples"][problem.code] = example
    return documented
