"""The OpenAPI document, completed with everything that a route's signature already says.

Routes list only the problems of their own rules. `complete_openapi` adds, for each route:

    a caller (`Caller`, `require_role`)   CALLER_PROBLEMS, and RoleRequired for a role
    `SessionsDep`                         DatabaseUnavailable
    `PageParams`                          CursorInvalid
    an If-Match header                    PreconditionFailed, and PreconditionRequired for `IfMatch`
    `IdempotencyKey`                      IdempotencyKeyInUse, IdempotencyKeyReused
"""

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from pydantic.json_schema import models_json_schema

from shared.errors import PreconditionFailed, PreconditionRequired, Problem
from shared.http.auth import CALLER_PROBLEMS, RoleGuard, RoleRequired, calls_of, current_caller
from shared.http.dependencies import database_sessions
from shared.http.etags import expected_version
from shared.http.idempotency import IdempotencyKeyInUse, IdempotencyKeyReused
from shared.http.pagination import CursorInvalid, page_request
from shared.http.problems import MEDIA_TYPE, DatabaseUnavailable, ProblemDetails, responses

Json = dict[str, Any]
Problems = tuple[type[Problem], ...]

OPERATION_ID: Callable[[APIRoute], str] = attrgetter("name")
"""An operation's id is the name of its route's function: clients generated from the document use it for a method."""

_OF_DEPENDENCIES: dict[object, Problems] = {
    current_caller: CALLER_PROBLEMS,
    database_sessions: (DatabaseUnavailable,),
    page_request: (CursorInvalid,),
    expected_version: (PreconditionRequired,),
}
_OF_HEADERS: dict[str, Problems] = {
    "if-match": (PreconditionFailed,),
    "idempotency-key": (IdempotencyKeyInUse, IdempotencyKeyReused),
}


def complete_openapi(app: FastAPI) -> None:
    """Add to the application's document the schemas of problems, and the problems that the signatures imply."""
    generate = app.openapi

    def openapi() -> Json:
        document = generate()
        _, schemas = models_json_schema(
            [(ProblemDetails, "serialization")], ref_template="#/components/schemas/{model}"
        )
        document.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
        for operation, dependant in _operations(app, document):
            _document_problems(operation, tuple(_implied_problems(dependant)))
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the document


def _operations(app: FastAPI, document: Json) -> Iterator[tuple[Json, Dependant]]:
    """Yield every documented operation with the dependencies and parameters of its route."""
    for route in iter_route_contexts(app.routes):
        dependant = getattr(route, "dependant", None)
        for method in route.methods or ():
            operation = document["paths"].get(route.path, {}).get(method.lower())
            if dependant is not None and operation is not None:
                yield operation, dependant


def _implied_problems(dependant: Dependant) -> Iterator[type[Problem]]:
    for call in dict.fromkeys(calls_of(dependant)):
        yield from _OF_DEPENDENCIES.get(call, ())
        if isinstance(call, RoleGuard):
            yield RoleRequired
    for header in _headers_of(dependant):
        yield from _OF_HEADERS.get(header, ())


def _headers_of(dependant: Dependant) -> set[str]:
    """Return the names of all headers that a route takes, in lower case, including those of its dependencies."""
    headers = {parameter.alias.lower() for parameter in dependant.header_params}
    return headers.union(*map(_headers_of, dependant.dependencies))


def _document_problems(operation: Json, problems: Problems) -> None:
    for status, response in responses(*problems).items():
        documented = operation["responses"].get(str(status))
        operation["responses"][str(status)] = _merged(documented, response) if documented else response


def _merged(documented: Json, added: Json) -> Json:
    """Add the missing examples to a documented response. The route's own come last and win."""
    content = documented.get("content", {}).get(MEDIA_TYPE)
    if content is None:
        return documented
    examples = added["content"][MEDIA_TYPE]["examples"] | content.get("examples", {})
    # Copy instead of changing in place: FastAPI shares response objects between operations.
    return documented | {"content": documented["content"] | {MEDIA_TYPE: content | {"examples": examples}}}
