"""The OpenAPI document, completed by what routes need not say themselves: problem schemas and refused callers."""

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from shared.http.auth import UNDECLARED, RoleRequired, TokenMissing, access_matrix
from shared.http.problems import Problem, responses
from shared.http.tokens import KeysUnavailable, TokenExpired, TokenInvalid


def complete_openapi(app: FastAPI) -> None:
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        _, schemas = models_json_schema([(Problem, "serialization")], ref_template="#/components/schemas/{model}")
        document.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
        _document_refused_callers(app, document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend the document


def _document_refused_callers(app: FastAPI, document: dict[str, Any]) -> None:
    of_callers = responses(TokenMissing, TokenInvalid, TokenExpired, KeysUnavailable)
    of_roles = of_callers | responses(RoleRequired)
    access = access_matrix(app)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            asked = access.get(f"{method.upper()} {path}", "public")
            added = {"public": {}, UNDECLARED: {}, "caller": of_callers}.get(asked, of_roles)
            for status, response in added.items():
                operation["responses"].setdefault(str(status), response)
