"""The OpenAPI document shows every problem that a route's path and signature imply."""

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Query

from shared.errors import Problem
from shared.http.auth import (
    ADMINS,
    NOBODY,
    TOKEN_PROBLEMS,
    Caller,
    RoleRequired,
    TokenMissing,
    admin_only,
    bearer,
    by_owner,
    public,
)
from shared.http.dependencies import SessionsDep
from shared.http.etags import IfMatch, OptionalIfMatch
from shared.http.idempotency import IdempotencyKey, IdempotencyKeyInUse, IdempotencyKeyReused
from shared.http.openapi import OPERATION_ID, complete_openapi
from shared.http.pagination import PageParams
from shared.http.problems import responses

CALLER_CODES = {problem.code for problem in (TokenMissing, *TOKEN_PROBLEMS)}
BODY_CODES = {"body_malformed", "media_type_unsupported"}
CODES_OF_ALL = {"internal_error", "body_too_large", "overloaded", "rate_limited", "validation_failed"}
"""The codes that all routes under /v1 document."""


class ThingBroken(Problem):
    """The thing is broken."""

    status = 422
    code = "thing_broken"


def add_routes_by_access(router: APIRouter) -> None:
    """Add routes that need a caller, a role, the database, or none of them."""

    @router.post("/public", dependencies=[Depends(public)])
    async def add_public() -> None:
        pass

    @router.get("/caller")
    async def read_own(_caller: Caller) -> None:
        pass

    @router.delete("/role", dependencies=[Depends(admin_only)])
    async def delete() -> None:
        pass

    @router.get("/owner", dependencies=[Depends(by_owner(own=NOBODY, own_denial=ThingBroken, others=ADMINS))])
    async def read_owned() -> None:
        pass

    @router.get("/database")
    async def read(_sessions: SessionsDep) -> None:
        pass

    @router.get("/database-and-caller")
    async def read_stored(_caller: Caller, _sessions: SessionsDep) -> None:
        pass


def add_routes_by_signature(router: APIRouter) -> None:
    """Add routes with parameters, a body, pages, versions and idempotency keys."""

    @router.get("/parameter/{number}")
    async def read_numbered(number: int) -> int:
        return number

    @router.post("/body")
    async def add_thing(thing: dict[str, str]) -> int:
        return len(thing)

    @router.get("/pages", responses=responses(ThingBroken))
    async def list_things(_params: PageParams) -> None:
        pass

    @router.put("/version")
    async def replace(_version: IfMatch) -> None:
        pass

    @router.put("/optional-version")
    async def replace_any(_version: OptionalIfMatch) -> None:
        pass

    @router.post("/key")
    async def add(key: IdempotencyKey = None) -> None:
        pass


def make_app() -> FastAPI:
    app = FastAPI(generate_unique_id_function=OPERATION_ID)
    router = APIRouter(prefix="/things")
    add_routes_by_access(router)
    add_routes_by_signature(router)
    app.include_router(router, prefix="/v1")

    @app.get("/ping")
    async def ping() -> None:
        pass

    complete_openapi(app)
    return app


@pytest.fixture(scope="module")
def paths() -> dict[str, Any]:
    paths: dict[str, Any] = make_app().openapi()["paths"]
    return paths


def documented_codes(operation: dict[str, Any]) -> set[str]:
    return {
        code
        for response in operation["responses"].values()
        for code in response.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }


@pytest.mark.parametrize(
    ("method", "path", "codes"),
    [
        ("post", "public", set()),
        ("get", "caller", CALLER_CODES),
        ("delete", "role", {*CALLER_CODES, "role_required"}),
        ("get", "owner", {*CALLER_CODES, "role_required", "thing_broken"}),
        ("get", "database", {"database_unavailable"}),
        ("get", "database-and-caller", {*CALLER_CODES, "database_unavailable"}),
        ("get", "parameter/{number}", set()),
        ("post", "body", BODY_CODES),
        ("get", "pages", {"thing_broken", "cursor_invalid"}),
        ("put", "version", {"precondition_failed", "precondition_required"}),
        ("put", "optional-version", {"precondition_failed"}),
        ("post", "key", {"idempotency_key_in_use", "idempotency_key_reused"}),
    ],
)
def test_a_routes_signature_implies_its_problems(
    paths: dict[str, Any], method: str, path: str, codes: set[str]
) -> None:
    assert documented_codes(paths[f"/v1/things/{path}"][method]) == CODES_OF_ALL | codes


def test_only_routes_under_v1_document_a_rate_limit(paths: dict[str, Any]) -> None:
    assert documented_codes(paths["/ping"]["get"]) == {"internal_error", "body_too_large", "overloaded"}


def test_an_operation_says_whether_it_needs_a_token() -> None:
    app = FastAPI()

    @app.get("/public", dependencies=[Depends(public)])
    async def read() -> None:
        pass

    @app.get("/optional", dependencies=[Depends(public), Depends(bearer)])
    async def read_more() -> None:
        pass

    @app.get("/caller")
    async def read_own(_caller: Caller) -> None:
        pass

    complete_openapi(app)
    security = {path: item["get"]["security"] for path, item in app.openapi()["paths"].items()}
    token: dict[str, list[str]] = {"access_token": []}
    assert security == {"/public": [], "/optional": [{}, token], "/caller": [token]}


def test_a_parameter_is_never_null() -> None:
    app = FastAPI()

    @app.get("/things")
    async def read(limit: Annotated[int | None, Query(ge=1, description="A limit.")] = None) -> None:
        pass

    complete_openapi(app)
    [parameter] = app.openapi()["paths"]["/things"]["get"]["parameters"]
    assert parameter["schema"] == {"type": "integer", "minimum": 1, "title": "Limit", "description": "A limit."}


def test_fastapis_own_validation_error_is_not_documented() -> None:
    document = make_app().openapi()
    assert "HTTPValidationError" not in str(document)
    assert "ValidationError" not in document["components"]["schemas"]


def test_every_implied_problem_is_documented_under_its_status(paths: dict[str, Any]) -> None:
    for methods in paths.values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                for example in response["content"].get("application/problem+json", {}).get("examples", {}).values():
                    assert str(example["value"]["status"]) == status


def test_listing_an_implied_problem_too_changes_nothing() -> None:
    app = FastAPI()

    @app.post(
        "/listed",
        responses=responses(TokenMissing, *TOKEN_PROBLEMS, RoleRequired, IdempotencyKeyInUse, IdempotencyKeyReused),
    )
    async def listed(_caller: Annotated[object, Depends(admin_only)], key: IdempotencyKey = None) -> None:
        pass

    @app.post("/implied")
    async def implied(_caller: Annotated[object, Depends(admin_only)], key: IdempotencyKey = None) -> None:
        pass

    complete_openapi(app)
    paths = app.openapi()["paths"]
    assert documented_codes(paths["/listed"]["post"]) == documented_codes(paths["/implied"]["post"])


def test_a_repeated_request_for_the_document_gets_the_same_one() -> None:
    app = make_app()
    assert app.openapi() == app.openapi()


def test_an_operations_id_is_the_name_of_its_function(paths: dict[str, Any]) -> None:
    assert paths["/v1/things/caller"]["get"]["operationId"] == "read_own"
    assert paths["/v1/things/pages"]["get"]["operationId"] == "list_things"
