"""Access control of routes, and the access matrix."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI

from shared.errors import Conflict, NotFound
from shared.http.auth import (
    ADMINS,
    ANY,
    CUSTOMER,
    EVERYONE,
    NOBODY,
    OTHERS,
    OWN,
    SIGNED_IN,
    STAFF,
    Caller,
    OptionalAccess,
    Permit,
    RoleRequired,
    Rule,
    TokenMissing,
    admin_only,
    by_owner,
    declared_access,
    public,
    signed_in,
    staff_only,
)
from shared.http.problems import install_problems
from shared.http.tokens import TokenVerifier, remote_keys
from tests.harness.asgi import client_of
from tests.harness.problems import problem
from tests.shared.http.token_issuer import TokenIssuer

MAY_BE_SECRET = OptionalAccess((Rule("open", EVERYONE), Rule("secret", STAFF)))
READ = by_owner(own=SIGNED_IN, others=STAFF, others_denial=NotFound)
CHANGE = by_owner(own=NOBODY, own_denial=Conflict, others=ADMINS)


def make_app(verifier: TokenVerifier) -> FastAPI:
    app = FastAPI()
    app.state.token_verifier = verifier
    install_problems(app)
    router = APIRouter(prefix="/things")

    @router.get("/mine")
    async def mine(caller: Caller) -> UUID:
        return caller.user_id

    @router.get("/all")
    async def everything(permit: Annotated[Permit, Depends(staff_only)]) -> UUID:
        return permit.user_id

    @router.get("/secret", dependencies=[])
    async def secret(permit: Annotated[Permit, Depends(MAY_BE_SECRET)], *, is_secret: bool = False) -> bool:
        permit.check("secret" if is_secret else "open")
        return permit.is_staff

    @router.post("/of/{owner_id}")
    async def change(permit: Annotated[Permit, Depends(CHANGE)], owner_id: UUID) -> None:
        permit.check_owner(owner_id)

    @router.get("/of/{owner_id}")
    async def read(permit: Annotated[Permit, Depends(READ)], owner_id: UUID) -> None:
        permit.check_owner(owner_id)

    @router.delete("/{thing_id}", dependencies=[Depends(admin_only)])
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
    unreachable = TokenVerifier(remote_keys("http://127.0.0.1:1/keys"), issuer="orderly")
    async with client_of(make_app(unreachable)) as client:
        response = await client.get("/v1/things/mine", headers=issuer.header())
    assert problem(response) == (503, "keys_unavailable")
    assert response.headers["retry-after"] == "2"


async def test_the_owner_decides_who_may_use_an_object(client: httpx2.AsyncClient, issuer: TokenIssuer) -> None:
    user_id = uuid4()

    async def outcomes(method: str, *roles: str) -> list[tuple[int, str | None]]:
        header = issuer.header(*roles, user_id=user_id)
        responses = [
            await client.request(method, f"/v1/things/of/{owner}", headers=header) for owner in (user_id, uuid4())
        ]
        return [(each.status_code, (each.json() or {}).get("code")) for each in responses]

    assert await outcomes("GET", "customer") == [(200, None), (404, "not_found")]
    assert await outcomes("GET") == [(200, None), (404, "not_found")]
    assert await outcomes("GET", "support") == [(200, None), (200, None)]
    assert await outcomes("POST", "support") == [(403, "role_required")] * 2
    assert await outcomes("POST", "customer", "admin") == [(409, "conflict"), (200, None)]


async def test_a_token_is_optional_but_has_to_be_valid(client: httpx2.AsyncClient, issuer: TokenIssuer) -> None:
    path, staff = "/v1/things/secret", issuer.header("support")
    secret = {"is_secret": True}

    assert (await client.get(path)).json() is False
    assert (await client.get(path, headers=staff, params=secret)).json() is True
    assert problem(await client.get(path, params=secret)) == (403, "role_required")
    assert problem(await client.get(path, headers=issuer.header(), params=secret)) == (403, "role_required")
    assert problem(await client.get(path, headers={"Authorization": "Bearer x"})) == (401, "token_invalid")


def test_a_permit_without_a_caller_owns_nothing() -> None:
    permit = Permit(None, READ.rules)

    assert permit.owns(uuid4()) is False
    with pytest.raises(TokenMissing):
        _ = permit.user_id
    with pytest.raises(NotFound):
        permit.check_owner(uuid4())


def test_a_kind_of_objects_without_a_rule_is_not_allowed() -> None:
    with pytest.raises(KeyError):
        Permit(None, public.rules).check(OWN)


def test_every_route_shows_its_access(issuer: TokenIssuer) -> None:
    declared = declared_access(make_app(issuer.verifier()))
    assert {route: access for route, access in declared.items() if "/v1" in route} == {
        "GET /v1/things/mine": signed_in,
        "GET /v1/things/all": staff_only,
        "GET /v1/things/secret": MAY_BE_SECRET,
        "POST /v1/things/of/{owner_id}": CHANGE,
        "GET /v1/things/of/{owner_id}": READ,
        "DELETE /v1/things/{thing_id}": admin_only,
        "POST /v1/things": public,
        "PUT /v1/things/{thing_id}": None,
    }
    assert {access for route, access in declared.items() if "/v1" not in route} == {public}


def test_a_route_can_not_declare_two_kinds_of_access() -> None:
    app = FastAPI()

    @app.get("/both", dependencies=[Depends(public)])
    async def both(permit: Annotated[Permit, Depends(admin_only)]) -> None:
        """Return nothing."""

    with pytest.raises(ValueError, match="/both declares 2 kinds of access"):
        declared_access(app)


def test_a_denial_depends_on_the_role_and_the_kind_of_objects() -> None:
    own, others = CHANGE.rules
    assert [rule.objects for rule in CHANGE.rules] == [OWN, OTHERS]
    assert [CHANGE.denial(role, own) for role in ("anonymous", CUSTOMER, "admin")] == [
        TokenMissing,
        RoleRequired,
        Conflict,
    ]
    assert [CHANGE.denial(role, others) for role in ("anonymous", CUSTOMER, "admin")] == [
        TokenMissing,
        RoleRequired,
        None,
    ]
    assert CHANGE.problems == (TokenMissing, RoleRequired, Conflict)
    assert READ.problems == (TokenMissing, NotFound)
    assert MAY_BE_SECRET.problems == (RoleRequired,)
    assert public.rules == (Rule(ANY, EVERYONE),)
    assert public.problems == ()


def test_the_document_shows_which_routes_require_a_token(issuer: TokenIssuer) -> None:
    paths = make_app(issuer.verifier()).openapi()["paths"]
    assert paths["/v1/things/mine"]["get"]["security"] == [{"access_token": []}]
    assert "security" not in paths["/v1/things"]["post"]
