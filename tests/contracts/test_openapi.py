"""The OpenAPI documents are complete enough to write a client from."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import RouteContext, iter_route_contexts

from shared.ids import new_id
from tests.architecture.source import SERVICES
from tests.contracts.access import ALLOWED, cells_of, routes_of
from tests.contracts.applications import applications
from tests.harness.asgi import client_of
from tests.shared.http.token_issuer import TokenIssuer

Operations = dict[str, dict[str, Any]]
NEEDS_NO_EXAMPLE = {"const", "enum", "default", "$ref", "allOf"}
"""Keywords of a property that already show its values."""
OAUTH_ERRORS = {"400", "429"}
"""The errors of the OAuth 2 routes that have the form of RFC 6749."""
PARAMETER = re.compile(r"{(\w+)}")


@pytest.fixture(params=SERVICES)
def document(request: pytest.FixtureRequest, apps: dict[str, FastAPI]) -> dict[str, Any]:
    openapi: dict[str, Any] = apps[request.param].openapi()
    return openapi


@pytest.fixture
def operations(document: dict[str, Any]) -> Operations:
    """Operations that clients can reach. Health routes are for operators only."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if not path.startswith("/health")
    }


@pytest.mark.parametrize("service", SERVICES)
def test_every_route_is_documented(apps: dict[str, FastAPI], service: str) -> None:
    routes = {route for route in routes_of(apps[service]) if "/v1/" in route or "/.well-known/" in route}
    documented = {
        f"{method.upper()} {path}" for path, methods in apps[service].openapi()["paths"].items() for method in methods
    }
    assert routes <= documented


@pytest.mark.parametrize("member", ["summary", "description", "operationId", "tags"])
def test_every_operation_is_described(operations: Operations, member: str) -> None:
    assert [name for name, operation in operations.items() if not operation.get(member)] == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_has_the_name_of_its_function(apps: dict[str, FastAPI], service: str) -> None:
    """The routes under /v1/operations/<service> have the same functions in each service, so theirs get a suffix."""
    paths = apps[service].openapi()["paths"]
    named_otherwise = [
        (expected, operation["operationId"])
        for route in iter_route_contexts(apps[service].routes)
        for method, operation in paths.get(route.path, {}).items()
        if method.upper() in (route.methods or ())
        and operation["operationId"] != (expected := _operation_id(route, service=service))
    ]
    assert named_otherwise == []


def test_operation_ids_are_unique_over_all_services(apps: dict[str, FastAPI]) -> None:
    """The gateway offers the three services as one API, without their health routes."""
    operation_ids = [
        operation["operationId"]
        for app in apps.values()
        for path, methods in app.openapi()["paths"].items()
        if not path.startswith("/health")
        for operation in methods.values()
    ]
    assert sorted(operation_ids) == sorted(set(operation_ids))


def test_every_error_is_a_problem_with_an_example_of_its_own_status(operations: Operations) -> None:
    wrong = []
    for name, operation in operations.items():
        for status, response in operation["responses"].items():
            if int(status) < 400:
                continue
            content = response["content"]
            if name.startswith("POST /v1/oauth/") and status in OAUTH_ERRORS:
                assert content["application/json"]["schema"]["$ref"].endswith("/OAuthErrorView")
                continue
            examples = content.get("application/problem+json", {}).get("examples", {})
            if set(content) != {"application/problem+json"} or not examples:
                wrong.append((name, status))
            wrong += [(name, status) for example in examples.values() if example["value"]["status"] != int(status)]
    assert wrong == []


def test_an_operation_documents_every_status_with_which_it_denies_access(
    operations: Operations, apps: dict[str, FastAPI]
) -> None:
    expected: dict[str, set[str]] = {name: set() for name in operations}
    for app in apps.values():
        for cell in cells_of(app):
            if cell.outcome != ALLOWED and cell.route in expected:
                expected[cell.route].add(cell.outcome.partition(" ")[0])
    assert [name for name, statuses in expected.items() if not statuses <= set(operations[name]["responses"])] == []


def test_every_operation_on_the_database_documents_its_outage(operations: Operations) -> None:
    undocumented = {name for name, operation in operations.items() if not _documents_database_outage(operation)}
    assert undocumented == set()


async def test_every_get_operation_responds_as_documented_without_database_and_cache(tmp_path: Path) -> None:
    issuer = TokenIssuer()
    wrong = []
    for app in applications(tmp_path).values():
        app.state.token_verifier = issuer.verifier()
        async with client_of(app) as client:
            for path, operation in _get_operations(app.openapi()).items():
                response = await client.get(
                    PARAMETER.sub(_example, path), params=_required_query(operation), headers=issuer.header("admin")
                )
                expected = (503, "database_unavailable") if _documents_database_outage(operation) else (200, None)
                if (response.status_code, response.json().get("code")) != expected:
                    wrong.append((path, response.text))
    assert wrong == []


def test_every_success_documents_its_body(operations: Operations) -> None:
    undocumented = [
        (name, status)
        for name, operation in operations.items()
        for status, response in operation["responses"].items()
        if int(status) < 300 and status != "204" and not _schema_of(response)
    ]
    assert undocumented == []


def test_every_body_has_examples(document: dict[str, Any]) -> None:
    lacking = [
        f"{schema_name}.{name}"
        for schema_name, schema in document["components"]["schemas"].items()
        # The items of a page have examples; the report of /health is for operators.
        if not schema_name.startswith(("Page_", "Health", "Check")) and not _has_example(schema)
        for name, value in schema.get("properties", {}).items()
        if not _shows_its_values(value)
    ]
    assert lacking == []


def _operation_id(route: RouteContext, *, service: str) -> str | None:
    return f"{route.name}_of_{service}" if str(route.path).startswith("/v1/operations/") else route.name


def _get_operations(document: dict[str, Any]) -> Operations:
    paths = document["paths"].items()
    return {path: methods["get"] for path, methods in paths if "get" in methods and not path.startswith("/health")}


def _required_query(operation: dict[str, Any]) -> dict[str, str]:
    """Return an example of each query parameter that is required."""
    return {
        parameter["name"]: parameter["schema"]["examples"][0]
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query" and parameter["required"]
    }


def _example(parameter: re.Match[str]) -> str:
    return "17" if parameter[1] == "dead_letter_id" else str(new_id())


def _documents_database_outage(operation: dict[str, Any]) -> bool:
    unavailable = operation["responses"].get("503", {"content": {}})
    examples = unavailable["content"].get("application/problem+json", {}).get("examples", {})
    return "database_unavailable" in examples


def _schema_of(response: dict[str, Any]) -> Any:
    return next((content.get("schema") for content in response.get("content", {}).values()), None)


def _has_example(schema: dict[str, Any]) -> bool:
    return bool({"example", "examples"} & schema.keys())


def _shows_its_values(value: dict[str, Any]) -> bool:
    """Return whether a property has an example, or needs none: constants, times, ids, flags and references."""
    if _has_example(value) or NEEDS_NO_EXAMPLE & value.keys():
        return True
    alternatives = [*_alternatives(value)]
    return any(
        NEEDS_NO_EXAMPLE & each.keys() or each.get("format") in {"date-time", "uuid"} or each.get("type") == "boolean"
        for each in alternatives
    )


def _alternatives(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield value
    yield from value.get("anyOf", [])
    if isinstance(items := value.get("items"), dict):
        yield from _alternatives(items)
