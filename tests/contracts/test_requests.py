"""Requests to every route of every service: their bodies, parameters and bounds, HEAD, and other methods."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Form
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel

from shared.http.auth import dependants_of
from shared.http.bodies import RequestBody
from tests.architecture.source import SERVICES
from tests.contracts.access import routes_of
from tests.contracts.applications import applications
from tests.harness.asgi import client_of
from tests.shared.http.token_issuer import TokenIssuer

Json = dict[str, Any]

SOME_ID = "01890000-0000-7000-8000-000000000000"
BIGGEST = 2**53 - 1
"""Larger integers are not exact in OpenAPI documents, nor in the JSON of many clients."""
BOUNDS_OF_TEXT = {"pattern", "enum", "const", "format"}


@pytest.mark.parametrize("service", SERVICES)
def test_every_json_body_is_a_request_body(apps: dict[str, FastAPI], service: str) -> None:
    bodies = {
        f"{route.path} {model.__name__}": model
        for route in iter_route_contexts(apps[service].routes)
        if (dependant := getattr(route, "dependant", None))
        for each in (dependant, *dependants_of(dependant))
        for field in each.body_params
        if not isinstance(field.field_info, Form)
        for model in _models(field.field_info.annotation)
    }
    assert bodies
    assert [name for name, model in bodies.items() if not issubclass(model, RequestBody)] == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_number_and_text_of_a_request_has_the_bounds_of_the_database(
    apps: dict[str, FastAPI], service: str
) -> None:
    document = apps[service].openapi()
    unbounded = {
        f"{method.upper()} {path} {place}"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        for place, schema in _request_schemas(operation, document)
        if not _is_bounded(schema)
    }
    assert unbounded == set()


@pytest.mark.parametrize("service", SERVICES)
def test_every_time_of_a_parameter_can_be_stored(apps: dict[str, FastAPI], service: str) -> None:
    """The driver converts times to UTC, which moves the last hours of some time zones past the year 9999."""
    too_late = []
    for route in iter_route_contexts(apps[service].routes):
        dependant = getattr(route, "dependant", None)
        for field in get_flat_params(dependant) if dependant else ():
            value, errors = field.validate("9999-12-31T23:59:59-12:00", {}, loc=())
            if not errors and isinstance(value, datetime):
                too_late += [(route.path, field.alias)] if value != datetime.max.replace(tzinfo=UTC) else []
    assert too_late == []


@pytest.fixture(params=SERVICES)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> FastAPI:
    return applications(tmp_path)[request.param]


async def test_every_route_refuses_unknown_parameters(app: FastAPI) -> None:
    accepted = []
    async with client_as_admin(app) as client:
        for route in routes_of(app):
            method, path = route.split(" ")
            if path.startswith("/v1/"):
                response = await client.request(method, re.sub(r"\{\w+\}", SOME_ID, path), params={"nonsense": "1"})
                codes = {error["code"] for error in response.json().get("errors", ())}
                accepted += [route] if (response.status_code, "unknown_parameter" in codes) != (422, True) else []
    assert accepted == []


async def test_every_get_works_as_head(app: FastAPI) -> None:
    different = []
    async with client_as_admin(app) as client:
        for path in (route.removeprefix("GET ") for route in routes_of(app) if route.startswith("GET ")):
            url = re.sub(r"\{\w+\}", SOME_ID, path)
            got, headed = await client.get(url), await client.head(url)
            if (headed.status_code, headed.content, headed.headers.get("content-type")) != (
                got.status_code,
                b"",
                got.headers.get("content-type"),
            ):
                different.append(path)
    assert different == []


async def test_every_path_without_parameters_has_its_own_methods_only(app: FastAPI) -> None:
    methods: dict[str, set[str]] = {}
    for route in routes_of(app):
        method, path = route.split(" ")
        methods.setdefault(path, set()).add(method)
    wrong = []
    async with client_as_admin(app) as client:
        for path in (path for path in methods if path.startswith("/v1/") and "{" not in path):
            allowed = methods[path] | ({"HEAD"} if "GET" in methods[path] else set())
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - allowed:
                response = await client.request(method, path)
                if (response.status_code, response.headers.get("allow")) != (405, ", ".join(sorted(allowed))):
                    wrong.append((method, path, response.status_code, response.headers.get("allow")))
    assert wrong == []


def client_as_admin(app: FastAPI) -> httpx2.AsyncClient:
    issuer = TokenIssuer()
    app.state.token_verifier = issuer.verifier()
    client = client_of(app)
    client.headers.update(issuer.header("admin", "support", "customer") | {"If-Match": "*"})
    return client


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the model classes in a type, and in the fields of these."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _models(field.annotation)
    for argument in get_args(annotation):
        yield from _models(argument)


def _request_schemas(operation: Json, document: Json) -> Iterator[tuple[str, Json]]:
    for parameter in operation.get("parameters", ()):
        # Headers cannot hold what a database refuses: servers reject control characters.
        if parameter["in"] != "header":
            yield from _scalars(parameter["schema"], document, parameter["name"])
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield from _scalars(content["schema"], document, "")


def _scalars(schema: Json, document: Json, place: str) -> Iterator[tuple[str, Json]]:
    """Yield the schemas in a schema that describe numbers and text, each with its place."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if schema.get("type") in {"integer", "number", "string"}:
        yield place, schema
    for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        yield from _scalars(each, document, place)
    for name, each in schema.get("properties", {}).items():
        yield from _scalars(each, document, f"{place}/{name}")
    if isinstance(items := schema.get("items"), dict):
        yield from _scalars(items, document, f"{place}/0")


def _is_bounded(schema: Json) -> bool:
    if schema["type"] == "string":
        return bool(BOUNDS_OF_TEXT & schema.keys())
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    return lowest is not None and highest is not None and bool(lowest >= -BIGGEST and highest <= BIGGEST)
