"""The OpenAPI document, completed with every problem that a route's path and signature imply.

Routes list only the problems of their own rules. `complete_openapi` adds:

    to every route                          InternalError, BodyTooLarge
    to every route that may be refused      Overloaded
    to every route under /v1                RateLimited, ValidationFailed
    to a route with parameters or a body    ValidationFailed
    to a route with a body                  BodyMalformed, MediaTypeUnsupported
    to a route that reads an access token   TOKEN_PROBLEMS
    to a route that declares its access     the problems with which it is denied, such as RoleRequired
    to a route with `Caller`                TokenMissing
    to a route with `SessionsDep`           DatabaseUnavailable
    to a route with `PageParams`            CursorInvalid
    to a route with an If-Match header      PreconditionFailed, and PreconditionRequired if it uses `IfMatch`
    to a route with `IdempotencyKey`        IdempotencyKeyInUse, IdempotencyKeyReused
    to a route that depends on `own_errors` only InternalError, DatabaseUnavailable, Overloaded and BodyTooLarge

It also says which operations need no access token, which have a rate limit of their own, and that a parameter is text,
which null is not.
"""

from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic.json_schema import models_json_schema

from shared.errors import PreconditionFailed, PreconditionRequired, Problem
from shared.http.admission import ALWAYS_ADMITTED
from shared.http.auth import (
    TOKEN_PROBLEMS,
    Access,
    TokenMissing,
    bearer,
    current_caller,
    dependants_of,
)
from shared.http.dependencies import database_sessions
from shared.http.etags import required_precondition
from shared.http.idempotency import IdempotencyKeyInUse, IdempotencyKeyReused
from shared.http.pagination import CursorInvalid, page_request
from shared.http.parameters import CHECKED_PREFIX
from shared.http.problems import (
    MEDIA_TYPE,
    BodyMalformed,
    BodyTooLarge,
    DatabaseUnavailable,
    InternalError,
    MediaTypeUnsupported,
    Overloaded,
    ProblemDetails,
    ValidationFailed,
    responses,
)
from shared.http.rate_limit import RATE_LIMITED_PREFIX, RateLimited
from shared.http.route_limits import NamedLimit, RequestLimits

Json = dict[str, Any]
Problems = tuple[type[Problem], ...]

OPERATION_ID: Callable[[APIRoute], str] = attrgetter("name")
"""An operation's id is the name of its route's function: clients generated from the document use it for a method."""

_SCHEMAS_OF_FASTAPI = ("HTTPValidationError", "ValidationError")
"""FastAPI's own schemas of validation errors, whose place problems take."""
_PROBLEMS_OF_DEPENDENCIES: dict[object, Problems] = {
    bearer: TOKEN_PROBLEMS,
    current_caller: (TokenMissing,),
    database_sessions: (DatabaseUnavailable,),
    page_request: (CursorInvalid,),
    required_precondition: (PreconditionRequired,),
}
_PROBLEMS_OF_HEADERS: dict[str, Problems] = {
    "if-match": (PreconditionFailed,),
    "idempotency-key": (IdempotencyKeyInUse, IdempotencyKeyReused),
}


_TEXT: Json = {"schema": {"type": "string"}}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds until a retry makes sense.", "schema": {"type": "integer"}}}
_HEADERS: dict[int | str, Json] = {
    503: _RETRY_AFTER,
    429: _RETRY_AFTER
    | {
        "RateLimit-Policy": {"description": "Each limit: requests (`q`) in a window of seconds (`w`).", **_TEXT},
        "RateLimit": {
            "description": "What is left of each: requests (`r`), and seconds until it grows (`t`).",
            **_TEXT,
        },
    },
}
"""The headers that come with each status."""


async def own_errors() -> None:
    """Mark a route whose client errors have a form of their own, which it documents itself."""


def complete_openapi(app: FastAPI, limits: RequestLimits | None = None) -> None:
    """Add the implied problems, the schemas of problems and the routes' limits to the application's document."""
    generate = app.openapi

    def openapi() -> Json:
        document = generate()
        _, schemas = models_json_schema(
            [(ProblemDetails, "serialization")], ref_template="#/components/schemas/{model}"
        )
        components = document.setdefault("components", {}).setdefault("schemas", {})
        components.update(schemas["$defs"])
        for name in _SCHEMAS_OF_FASTAPI:
            components.pop(name, None)
        for path, operation, dependant in _operations(app, document):
            _document_problems(operation, tuple(_implied_problems(path, dependant)))
            if _has_own_errors(dependant):
                operation["responses"].pop(str(ValidationFailed.status), None)  # FastAPI documents it for every body
            _document_optional_token(operation, dependant)
            _exclude_null(operation.get("parameters", []))
        if limits is not None:
            for path, method, operation in _documented(document):
                _document_limits(operation, limits.of_route(method, path))
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the document


def _documented(document: Json) -> Iterator[tuple[str, str, Json]]:
    """Yield every documented operation with its path and its method."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield path, method.upper(), operation


def _operations(app: FastAPI, document: Json) -> Iterator[tuple[str, Json, Dependant]]:
    """Yield every documented operation with the path and the signature of its route."""
    for route in iter_route_contexts(app.routes):
        dependant = getattr(route, "dependant", None)
        for method in route.methods or ():
            operation = document["paths"].get(route.path, {}).get(method.lower())
            if route.path and dependant is not None and operation is not None:
                yield route.path, operation, dependant


def _implied_problems(path: str, dependant: Dependant) -> Iterator[type[Problem]]:
    yield from (InternalError, BodyTooLarge)
    if not path.startswith(ALWAYS_ADMITTED):
        yield Overloaded
    if _has_own_errors(dependant):
        yield DatabaseUnavailable
        return
    if path.startswith(RATE_LIMITED_PREFIX):
        yield RateLimited
    signature = [dependant, *dependants_of(dependant)]
    if path.startswith(CHECKED_PREFIX) or any(map(_takes_input, signature)):
        yield ValidationFailed
    if any(each.body_params for each in signature):
        yield from (BodyMalformed, MediaTypeUnsupported)
    for each in signature:
        yield from _PROBLEMS_OF_DEPENDENCIES.get(each.call, ())
        if isinstance(each.call, Access):
            yield from each.call.problems
        for header in each.header_params:
            yield from _PROBLEMS_OF_HEADERS.get(header.alias.lower(), ())


def _has_own_errors(dependant: Dependant) -> bool:
    return any(each.call is own_errors for each in dependants_of(dependant))


def _takes_input(dependant: Dependant) -> bool:
    return bool(
        dependant.path_params
        or dependant.query_params
        or dependant.header_params
        or dependant.cookie_params
        or dependant.body_params
    )


def _document_limits(operation: Json, limits: Sequence[NamedLimit]) -> None:
    for name, limit in limits:
        times = {1: "second", 60: "minute"}.get(limit.window_seconds, f"{limit.window_seconds} seconds")
        operation["description"] = (
            f"{operation.get('description', '')}\n\nA caller may send {limit.requests} requests with the limit `{name}`"
            f" in each {times}."
        ).strip()


def _document_optional_token(operation: Json, dependant: Dependant) -> None:
    if all(each.call is not current_caller for each in dependants_of(dependant)):
        with_token = operation.get("security", [])
        operation["security"] = [{}, *with_token] if with_token else []


def _exclude_null(parameters: list[Json]) -> None:
    """Remove the type null, which an optional parameter has in Python."""
    for parameter in parameters:
        schema: Json = parameter["schema"]
        alternatives = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
        if len(alternatives) == 1:
            del schema["anyOf"]
            parameter["schema"] = alternatives[0] | schema


def _document_problems(operation: Json, problems: Problems) -> None:
    for status, response in responses(*problems).items():
        merged = _merged(operation["responses"].get(str(status), {}), response)
        headers = {**_HEADERS.get(status, {}), **merged.get("headers", {})}
        operation["responses"][str(status)] = merged | ({"headers": headers} if headers else {})


def _merged(documented: Json, added: Json) -> Json:
    """Add problems to a documented response. The route's own examples come last and win."""
    content = documented.get("content", {})
    if any("HTTPValidationError" in str(media_type) for media_type in content.values()):
        return added  # FastAPI documents its own validation error where the route lists no 422
    examples = added["content"][MEDIA_TYPE]["examples"] | content.get(MEDIA_TYPE, {}).get("examples", {})
    # Copy instead of changing in place: FastAPI shares response objects between operations.
    problem = added["content"][MEDIA_TYPE] | {"examples": examples}
    return added | documented | {"content": content | {MEDIA_TYPE: problem}}
