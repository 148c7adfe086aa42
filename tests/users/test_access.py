"""Access to the routes of the users service."""

import re

from shared.http.auth import access_matrix
from tests.harness.problems import problem
from tests.users.service import UsersService

USER_ID = "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"
OWN = [
    ("GET", "/v1/users/me"),
    ("PATCH", "/v1/users/me"),
    ("GET", "/v1/users/me/credit"),
    ("GET", "/v1/users/me/credit/entries"),
    ("POST", "/v1/users/me/email-verification"),
    ("POST", "/v1/users/me/email-change"),
    ("PUT", "/v1/users/me/password"),
    ("GET", "/v1/sessions"),
    ("DELETE", "/v1/sessions"),
    ("DELETE", f"/v1/sessions/{USER_ID}"),
]
STAFF_ONLY = [
    ("GET", "/v1/users"),
    ("GET", f"/v1/users/{USER_ID}"),
    ("GET", f"/v1/users/{USER_ID}/credit"),
    ("GET", f"/v1/users/{USER_ID}/credit/entries"),
    ("PUT", f"/v1/users/{USER_ID}/credit-limit"),
    ("POST", "/v1/users/verified"),
]


async def test_every_route_declares_who_may_call_it(service: UsersService) -> None:
    matrix = {
        route: access for route, access in access_matrix(service.app).items() if re.search("/v1/|jwks|internal", route)
    }
    operations = {route: matrix.pop(route) for route in list(matrix) if "/v1/operations/" in route}
    assert set(operations.values()) == {"admin"}
    assert matrix == {
        "POST /v1/users": "public",
        "POST /v1/users/verified": "admin",
        "GET /v1/users": "admin|support",
        "GET /v1/users/me": "caller",
        "PATCH /v1/users/me": "caller",
        "GET /v1/users/me/credit": "caller",
        "GET /v1/users/me/credit/entries": "caller",
        "GET /v1/users/{user_id}": "admin|support",
        "GET /v1/users/{user_id}/credit": "admin|support",
        "GET /v1/users/{user_id}/credit/entries": "admin|support",
        "PUT /v1/users/{user_id}/credit-limit": "admin",
        "POST /v1/users/me/email-verification": "caller",
        "POST /v1/email-verifications": "public",
        "POST /v1/users/me/email-change": "caller",
        "POST /v1/email-changes": "public",
        "POST /v1/password-resets": "public",
        "POST /v1/password-resets/confirmation": "public",
        "PUT /v1/users/me/password": "caller",
        "POST /v1/sessions": "public",
        "POST /v1/sessions/refresh": "public",
        "GET /v1/sessions": "caller",
        "DELETE /v1/sessions": "caller",
        "DELETE /v1/sessions/{session_id}": "caller",
        "POST /v1/oauth/token": "public",
        "POST /v1/oauth/revoke": "public",
        "GET /internal/revoked-sessions": "service",
        "GET /.well-known/jwks.json": "public",
        "POST /internal/personal-keys": "service",
    }


async def test_a_customer_can_not_call_routes_for_staff(service: UsersService) -> None:
    header = await service.header_with("customer")
    for method, path in STAFF_ONLY:
        response = await service.http.request(method, path, json={"limit_cents": 1}, headers=header)
        assert problem(response) == (403, "role_required"), path


async def test_support_may_not_set_a_limit(service: UsersService) -> None:
    header = await service.header_with("support")
    path = f"/v1/users/{USER_ID}/credit-limit"
    response = await service.http.put(path, json={"limit_cents": 1}, headers=header)
    assert problem(response) == (403, "role_required")


async def test_a_request_without_a_token_is_rejected(service: UsersService) -> None:
    for method, path in OWN + STAFF_ONLY:
        response = await service.http.request(method, path, json={})
        assert problem(response) == (401, "token_missing"), path


async def test_an_unsigned_token_is_rejected(service: UsersService) -> None:
    header = {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."}
    assert problem(await service.http.get("/v1/users/me", headers=header)) == (401, "token_invalid")
