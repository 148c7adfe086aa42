"""The OpenAPI document, completed by what routes need not say: problem schemas, refused callers, a database away."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from pydantic.json_schema import models_json_schema

from shared.errors import Problem
from shared.http.auth import UNDECLARED, RoleRequired, TokenMissing, access_matrix, calls_of
from shared.http.dependencies import database_sessions
from shared.http.problems import MEDIA_TYPE, DatabaseUnavailable, ProblemDetails, responses
from shared.http.tokens import KeysUnavailable, TokenExpired, TokenInvalid

Json = dict[str, Any]

_OF_CALLERS = (TokenMissing, TokenInvalid, TokenExpired, KeysUnavailable)
_OF_ROLES = (*_OF_CALLERS, RoleRequired)
_OF_ACCESS: dict[str, tuple[type[Problem], ...]] = {"public": (), UNDECLARED: (), "caller": _OF_CALLERS}


def complete_openapi(app: FastAPI) -> None:
    generate = app.openapi

    def openapi() -> Json:
        document = generate()
        _, schemas = models_json_schema(
            [(ProblemDetails, "serialization")], ref_template="#/components/schemas/{model}"
        )
        document.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
        _document_common_problems(app, document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the document


def _document_common_problems(app: FastAPI, document: Json) -> None:
    access, on_database = access_matrix(app), _routes_on_the_database(app)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            route = f"{method.upper()} {path}"
            problems = _OF_ACCESS.get(access.get(route, "public"), _OF_ROLES)
            if route in on_database:
                problems = (*problems, DatabaseUnavailable)
            for status, response in responses(*problems).items():
                documented = operation["responses"].get(str(status))
                operation["responses"][str(status)] = _merged(documented, response) if documented else response


def _routes_on_the_database(app: FastAPI) -> set[str]:
    return {
        f"{method} {route.path}"
        for route in iter_route_contexts(app.routes)
        if (dependant := getattr(route, "dependant", None)) and database_sessions in calls_of(dependant)
        for method in route.methods or ()
    }


def _merged(documented: Json, added: Json) -> Json:
    """The route's own words, and the examples that are missing there; what is no problem stays as it is."""
    content = documented.get("content", {}).get(MEDIA_TYPE)
    if content is None:
        return documented
    examples = added["content"][MEDIA_TYPE]["examples"] | content.get("examples", {})
    # A new one: FastAPI lets operations share what they have in common.
    return documented | {"content": documented["content"] | {MEDIA_TYPE: content | {"examples": examples}}}
