"""The OAuth 2 token endpoint and the revocation endpoint: grants, forms and errors of RFC 6749 and RFC 7009."""

from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from tests.harness.waiting import until
from tests.users.service import ADA, PASSWORD, UsersService, bearer

CREDENTIALS = {"grant_type": "password", "username": ADA["email"], "password": PASSWORD}


async def token(service: UsersService, **form: str) -> httpx2.Response:
    return await service.http.post("/v1/oauth/token", data=form)


def error(response: httpx2.Response) -> tuple[int, str]:
    """Return status and code of an error, after checking its form."""
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert isinstance(response.json()["error_description"], str)
    return response.status_code, response.json()["error"]


async def test_the_password_grant_starts_a_session(service: UsersService) -> None:
    user = await service.sign_up()

    response = await token(service, **CREDENTIALS, scope="", client_id="any", client_secret="ignored")

    body = response.json()
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-store")
    assert body.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "session_id"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    assert (await service.http.get("/v1/users/me", headers=bearer(body))).json() == user


async def test_the_refresh_grant_rotates_like_the_json_route(service: UsersService) -> None:
    await service.sign_up()
    first = (await token(service, **CREDENTIALS)).json()

    second = (await token(service, grant_type="refresh_token", refresh_token=first["refresh_token"])).json()
    by_json = (await service.refresh(first)).json()

    assert second["session_id"] == first["session_id"]
    assert by_json["refresh_token"] == second["refresh_token"] != first["refresh_token"]


@pytest.mark.parametrize(
    ("form", "code"),
    [
        (CREDENTIALS | {"password": "wrong password"}, "invalid_grant"),
        (CREDENTIALS | {"username": "nobody@orderly.example"}, "invalid_grant"),
        (CREDENTIALS | {"username": "no address"}, "invalid_grant"),
        ({"grant_type": "password", "username": ADA["email"]}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "some-token"}, "invalid_grant"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "x" * 101}, "invalid_request"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({}, "invalid_request"),
        (CREDENTIALS | {"username": ["a@orderly.example", "b@orderly.example"]}, "invalid_request"),
    ],
)
async def test_a_refused_request_gets_an_error_of_oauth(service: UsersService, form: dict[str, Any], code: str) -> None:
    await service.sign_up()
    response = await service.http.post("/v1/oauth/token", data=form)
    assert error(response) == (400, code)
    assert not any(secret in response.text for secret in ("wrong password", "some-token", "x" * 101))


async def test_an_unknown_field_is_ignored_even_if_it_is_repeated(service: UsersService) -> None:
    await service.sign_up()
    response = await service.http.post("/v1/oauth/token", data=CREDENTIALS | {"resource": ["a", "b"]})
    assert response.status_code == 200


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=x", "text/plain"])
async def test_a_body_that_is_no_form_gets_an_error_of_oauth(service: UsersService, content_type: str) -> None:
    response = await service.http.post("/v1/oauth/token", content=b'{"a": 1}', headers={"Content-Type": content_type})
    assert error(response) == (400, "invalid_request")


async def test_guesses_are_limited_together_with_those_of_the_json_route(service: UsersService) -> None:
    await service.sign_up()
    for _ in range(2):
        await service.http.post("/v1/sessions", json={"email": ADA["email"], "password": "wrong password"})
    assert error(await token(service, **CREDENTIALS | {"password": "wrong password"})) == (400, "invalid_grant")

    response = await token(service, **CREDENTIALS)

    assert error(response) == (429, "too_many_attempts")
    assert int(response.headers["retry-after"]) > 0


async def test_an_inactive_account_gets_no_tokens(service: UsersService) -> None:
    await service.sign_up()
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET status = 'suspended'"))
    assert error(await token(service, **CREDENTIALS)) == (400, "invalid_grant")


async def test_an_account_with_a_second_factor_gets_a_challenge(service: UsersService) -> None:
    await service.sign_up()
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET second_factor = true"))

    response = await token(service, **CREDENTIALS)

    assert error(response) == (400, "second_factor_required")
    assert len(response.json()["challenge"]) == 43


@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
async def test_revoking_a_token_ends_its_session(service: UsersService, kind: str) -> None:
    await service.sign_up()
    tokens = await service.sign_in()

    response = await service.http.post("/v1/oauth/revoke", data={"token": tokens[kind], "token_type_hint": kind})

    assert (response.status_code, response.json()) == (200, {})
    assert (await service.refresh(tokens)).json()["code"] == "refresh_token_invalid"

    async def is_refused() -> bool:
        return (await service.http.get("/v1/users/me", headers=bearer(tokens))).status_code == 401

    await until(is_refused, seconds=5, what="the access token is refused")


@pytest.mark.parametrize("unknown", ["unknown", "a.b.c", "é"])
async def test_revoking_an_unknown_token_is_no_error(service: UsersService, unknown: str) -> None:
    assert (await service.http.post("/v1/oauth/revoke", data={"token": unknown})).status_code == 200


async def test_the_document_shows_the_errors_that_the_routes_have(service: UsersService) -> None:
    for _ in range(2):  # the document is generated once and completed at each call
        document = service.app.openapi()
        for path in ("/v1/oauth/token", "/v1/oauth/revoke"):
            documented = document["paths"][path]["post"]["responses"]
            media_types = {status: next(iter(each.get("content", {"": 0}))) for status, each in documented.items()}
            assert media_types == {
                "200": "application/json",
                "400": "application/json",
                "413": "application/problem+json",
                "429": "application/json",
                "500": "application/problem+json",
                "503": "application/problem+json",
            }
    assert document["components"]["securitySchemes"]["oauth2"] == {
        "type": "oauth2",
        "flows": {"password": {"tokenUrl": "v1/oauth/token", "refreshUrl": "v1/oauth/token", "scopes": {}}},
    }
    assert document["paths"]["/v1/users/me"]["get"]["security"] == [{"access_token": []}, {"oauth2": []}]
