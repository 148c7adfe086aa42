"""Who may call what."""

from shared.http.auth import access_matrix
from tests.users.front_door import FrontDoor, problem

SOMEBODY = "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"
OWN = [
    ("GET", "/v1/users/me"),
    ("PATCH", "/v1/users/me"),
    ("GET", "/v1/users/me/credit"),
    ("GET", "/v1/sessions"),
    ("DELETE", f"/v1/sessions/{SOMEBODY}"),
]
STAFF_ONLY = [
    ("GET", "/v1/users"),
    ("GET", f"/v1/users/{SOMEBODY}"),
    ("GET", f"/v1/users/{SOMEBODY}/credit"),
    ("PUT", f"/v1/users/{SOMEBODY}/credit-limit"),
]


async def test_every_route_says_who_may_call_it(users: FrontDoor) -> None:
    matrix = {route: access for route, access in access_matrix(users.app).items() if "/v1/" in route or "jwks" in route}
    operations = {route: matrix.pop(route) for route in list(matrix) if "/v1/operations/" in route}
    assert set(operations.values()) == {"admin"}
    assert matrix == {
        "POST /v1/users": "public",
        "GET /v1/users": "admin|support",
        "GET /v1/users/me": "caller",
        "PATCH /v1/users/me": "caller",
        "GET /v1/users/me/credit": "caller",
        "GET /v1/users/{user_id}": "admin|support",
        "GET /v1/users/{user_id}/credit": "admin|support",
        "PUT /v1/users/{user_id}/credit-limit": "admin",
        "POST /v1/sessions": "public",
        "POST /v1/sessions/refresh": "public",
        "GET /v1/sessions": "caller",
        "DELETE /v1/sessions/{session_id}": "caller",
        "GET /.well-known/jwks.json": "public",
    }


async def test_a_customer_is_kept_out_of_what_is_for_staff(users: FrontDoor) -> None:
    header = await users.header_of("customer")
    for method, path in STAFF_ONLY:
        answer = await users.client.request(method, path, json={"limit_cents": 1}, headers=header)
        assert problem(answer) == (403, "role_required"), path


async def test_support_may_not_set_a_limit(users: FrontDoor) -> None:
    header = await users.header_of("support")
    path = f"/v1/users/{SOMEBODY}/credit-limit"
    answer = await users.client.put(path, json={"limit_cents": 1}, headers=header)
    assert problem(answer) == (403, "role_required")


async def test_without_a_token_there_is_nothing_to_see(users: FrontDoor) -> None:
    for method, path in OWN + STAFF_ONLY:
        answer = await users.client.request(method, path, json={})
        assert problem(answer) == (401, "token_missing"), path


async def test_a_token_of_a_stranger_is_refused(users: FrontDoor) -> None:
    header = {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."}
    assert problem(await users.client.get("/v1/users/me", headers=header)) == (401, "token_invalid")


async def test_the_operations_are_named_and_every_answer_is_documented(users: FrontDoor) -> None:
    document = (await users.client.get("/openapi.json")).json()

    operations = [
        (operation["operationId"], operation)
        for path, methods in document["paths"].items()
        if path.startswith(("/v1", "/.well-known"))
        for operation in methods.values()
    ]
    assert all(operation["summary"] and operation["description"] for _, operation in operations)
    assert sorted(name for name, operation in operations if operation["tags"] != ["operations"]) == [
        "change_credit_limit",
        "change_own_user",
        "get_credit",
        "get_own_credit",
        "get_own_user",
        "get_public_keys",
        "get_user",
        "list_own_sessions",
        "list_users",
        "refresh_session",
        "revoke_own_session",
        "sign_in",
        "sign_up",
    ]
    assert "default" not in document["components"]["schemas"]["ProfileChanges"]["properties"]["name"]
