"""Access to the routes of the users service."""

from shared.http.auth import access_matrix
from tests.harness.problems import problem
from tests.users.service import UsersService

USER_ID = "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"
OWN = [
    ("GET", "/v1/users/me"),
    ("PATCH", "/v1/users/me"),
    ("GET", "/v1/users/me/credit"),
    ("GET", "/v1/sessions"),
    ("DELETE", f"/v1/sessions/{USER_ID}"),
]
STAFF_ONLY = [
    ("GET", "/v1/users"),
    ("GET", f"/v1/users/{USER_ID}"),
    ("GET", f"/v1/users/{USER_ID}/credit"),
    ("PUT", f"/v1/users/{USER_ID}/credit-limit"),
]


async def test_every_route_declares_who_may_call_it(service: UsersService) -> None:
    matrix = {
        route: access for route, access in access_matrix(service.app).items() if "/v1/" in route or "jwks" in route
    }
    operations = {route: matrix.pop(route) for route in list(matrix) if "/v1/operations/" in route}
    assert set(operations.values()) == {"admin"}
    assert matrix == {
        "POST /v1/users": "public",
        "GET /v1/users": "admin|support",
        "GET /v1/users/me": "caller",
        "PATCH /v1/users/me": "caller",
        "GET /v1/users/me/credit": "caller",
        "GET /v1/users/me/sign-in-methods": "caller",
        "POST /v1/users/me/totp": "caller",
        "POST /v1/users/me/totp/confirmation": "caller",
        "DELETE /v1/users/me/totp": "caller",
        "POST /v1/users/me/recovery-codes": "caller",
        "DELETE /v1/users/me/password": "caller",
        "POST /v1/users/me/passkeys/options": "caller",
        "POST /v1/users/me/passkeys": "caller",
        "GET /v1/users/me/passkeys": "caller",
        "GET /v1/users/me/passkeys/{passkey_id}": "caller",
        "PATCH /v1/users/me/passkeys/{passkey_id}": "caller",
        "DELETE /v1/users/me/passkeys/{passkey_id}": "caller",
        "GET /v1/users/{user_id}": "admin|support",
        "GET /v1/users/{user_id}/credit": "admin|support",
        "PUT /v1/users/{user_id}/credit-limit": "admin",
        "POST /v1/sessions": "public",
        "POST /v1/sessions/refresh": "public",
        "POST /v1/sessions/second-factor": "public",
        "POST /v1/sessions/step-up": "caller",
        "POST /v1/sessions/passkey": "public",
        "POST /v1/sessions/passkey/options": "public",
        "GET /v1/sessions": "caller",
        "DELETE /v1/sessions/{session_id}": "caller",
        "GET /.well-known/jwks.json": "public",
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


async def test_every_operation_is_named_and_described(service: UsersService) -> None:
    document = (await service.http.get("/openapi.json")).json()

    operations = [
        (operation["operationId"], operation)
        for path, methods in document["paths"].items()
        if path.startswith(("/v1", "/.well-known"))
        for operation in methods.values()
    ]
    assert all(operation["summary"] and operation["description"] for _, operation in operations)
    assert sorted(name for name, operation in operations if operation["tags"] != ["operations"]) == [
        "confirm_totp",
        "create_authentication_options",
        "create_passkey_options",
        "list_own_passkeys",
        "list_own_sessions",
        "list_users",
        "read_credit",
        "read_own_credit",
        "read_own_passkey",
        "read_own_sign_in_methods",
        "read_own_user",
        "read_public_keys",
        "read_user",
        "refresh_session",
        "register_passkey",
        "remove_own_passkey",
        "remove_own_password",
        "remove_totp",
        "rename_own_passkey",
        "replace_recovery_codes",
        "revoke_own_session",
        "set_credit_limit",
        "sign_in",
        "sign_in_with_passkey",
        "sign_in_with_second_factor",
        "sign_up",
        "start_totp",
        "step_up",
        "update_own_user",
    ]
    assert "default" not in document["components"]["schemas"]["ProfileChanges"]["properties"]["name"]
