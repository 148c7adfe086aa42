"""Access control of routes, and the access matrix."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI

from shared.http.auth import Caller, access_matrix, public, require_role
from shared.http.problems import install_problems
from shared.http.tokens import Principal, TokenVerifier
from shared.http.users_client import UsersClient
from tests.harness.asgi import client_of
from tests.harness.problems import problem
from tests.shared.http.token_issuer import TokenIssuer


def make_app(verifier: TokenVerifier) -> FastAPI:
    app = FastAPI()
    app.state.token_verifier = verifier
    install_problems(app)
    router = APIRouter(prefix="/things")

    @router.get("/mine")
    async def mine(caller: Caller) -> UUID:
        return caller.user_id

    @router.get("/all")
    async def everything(caller: Annotated[Principal, Depends(require_role("admin", "support"))]) -> UUID:
        return caller.user_id

    @router.delete("/{thing_id}", dependencies=[Depends(require_role("admin"))])
    async def delete(thing_id: int) -> int:
        return thing_id

    @router.post("", dependencies=[Depends(public)])
    async def add() -> None:
        pass

    @router.put("/{thing_id}")
    async def undeclared(thing_id: int) -> int:
        return thing_id

    app.include_router(router, prefix="/v1")
    return app


@pytest.fixture
async def client(issuer: TokenIssuer) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(make_app(issuer.verifier())) as opened:
        yield opened


async def test_the_caller_is_the_user_of_the_token(client: httpx2.AsyncClient, issuer: TokenIssuer) -> None:
    user_id = uuid4()
    response = await client.get("/v1/things/mine", headers=issuer.header(user_id=user_id))
    assert response.json() == str(user_id)


@pytest.mark.parametrize(
    ("header", "code", "challenge"),
    [
        ({}, "token_missing", "Bearer"),
        ({"Authorization": "Basic YTpi"}, "token_missing", "Bearer"),
        ({"Authorization": "Bearer nonsense"}, "token_invalid", 'Bearer error="invalid_token"'),
    ],
)
async def test_a_request_without_a_valid_token_is_a_401_with_a_challenge(
    client: httpx2.AsyncClient, header: dict[str, str], code: str, challenge: str
) -> None:
    response = await client.get("/v1/things/mine", headers=header)
    assert problem(response) == (401, code)
    assert response.headers["www-authenticate"] == challenge


async def test_an_expired_token_is_a_401_with_its_own_code(client: httpx2.AsyncClient, issuer: TokenIssuer) -> None:
    response = await client.get("/v1/things/mine", headers=issuer.header(exp=1))
    assert problem(response) == (401, "token_expired")


@pytest.mark.parametrize(
    ("roles", "status"), [(("admin",), 200), (("support", "customer"), 200), (("customer",), 403), ((), 403)]
)
async def test_a_route_admits_callers_with_any_of_its_roles(
    client: httpx2.AsyncClient, issuer: TokenIssuer, roles: tuple[str, ...], status: int
) -> None:
    response = await client.get("/v1/things/all", headers=issuer.header(*roles))
    assert response.status_code == status


async def test_a_403_names_the_required_roles(client: httpx2.AsyncClient, issuer: TokenIssuer) -> None:
    response = await client.delete("/v1/things/7", headers=issuer.header("support"))
    assert problem(response) == (403, "role_required")
    assert response.json()["roles"] == ["admin"]


async def test_a_route_for_a_role_without_a_token_is_a_401(client: httpx2.AsyncClient) -> None:
    assert (await client.delete("/v1/things/7")).status_code == 401


async def test_unavailable_keys_are_a_503(issuer: TokenIssuer) -> None:
    unreachable = TokenVerifier(
        UsersClient("http://127.0.0.1:1", token="unused").key_set, issuer="orderly", revocations=None
    )
    async with client_of(make_app(unreachable)) as client:
        response = await client.get("/v1/things/mine", headers=issuer.header())
    assert problem(response) == (503, "keys_unavailable")
    assert response.headers["retry-after"] == "2"


def test_the_access_matrix_shows_who_may_call_each_route(issuer: TokenIssuer) -> None:
    matrix = access_matrix(make_app(issuer.verifier()))
    assert {route: access for route, access in matrix.items() if "/v1" in route} == {
        "GET /v1/things/mine": "caller",
        "GET /v1/things/all": "admin|support",
        "DELETE /v1/things/{thing_id}": "admin",
        "POST /v1/things": "public",
        "PUT /v1/things/{thing_id}": "undeclared",
    }
    assert {access for route, access in matrix.items() if "/v1" not in route} == {"public"}


def test_the_document_shows_which_routes_require_a_token(issuer: TokenIssuer) -> None:
    paths = make_app(issuer.verifier()).openapi()["paths"]
    assert paths["/v1/things/mine"]["get"]["security"] == [{"access_token": []}]
    assert "security" not in paths["/v1/things"]["post"]
