"""Signing in: credentials, tokens, and accounts that can't."""

import time
from uuid import UUID

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from joserfc import jwt
from joserfc.jwk import KeySet

from shared.http.token_keys import SIGNATURES
from tests.harness.problems import problem
from tests.users.service import ADA, PASSWORD, UsersService, bearer


async def test_valid_credentials_return_a_token_pair(service: UsersService) -> None:
    user = await service.sign_up()

    response = await service.http.post("/v1/sessions", json={"email": "ada@ORDERLY.example", "password": PASSWORD})

    body = response.json()
    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    me = await service.http.get("/v1/users/me", headers=bearer(body))
    assert me.json() == user


async def test_the_access_token_has_the_claims_that_services_verify(service: UsersService) -> None:
    user = await service.sign_up()
    tokens = await service.sign_in()
    jwk_set = (await service.http.get("/.well-known/jwks.json")).json()

    token = jwt.decode(tokens["access_token"], KeySet.import_key_set(jwk_set), registry=SIGNATURES)

    claims = token.claims
    assert token.header == {"typ": "at+jwt", "alg": "EdDSA", "kid": jwk_set["keys"][0]["kid"]}
    assert abs(claims["iat"] - time.time()) < 60
    assert abs(claims["iat"] - claims["auth_time"]) < 5
    assert claims == {
        "iss": "orderly",
        "aud": "orderly",
        "sub": user["id"],
        "sid": tokens["session_id"],
        "roles": ["customer"],
        "iat": claims["iat"],
        "exp": claims["iat"] + 900,
        "jti": str(UUID(claims["jti"])),
        "auth_time": claims["auth_time"],
        "amr": ["pwd"],
    }


@pytest.mark.parametrize("email", [ADA["email"], "nobody@orderly.example"])
async def test_a_wrong_password_and_an_unknown_account_get_the_same_error(service: UsersService, email: str) -> None:
    await service.sign_up()

    response = await service.http.post("/v1/sessions", json={"email": email, "password": "wrong password"})

    assert problem(response) == (401, "credentials_invalid")
    assert response.headers["www-authenticate"] == "Bearer"


async def test_a_hash_of_weaker_parameters_is_renewed_at_sign_in(service: UsersService) -> None:
    user = await service.sign_up()
    weak = PasswordHasher(time_cost=1, memory_cost=8192).hash(PASSWORD)
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET password_hash = :hash"), {"hash": weak})

    tokens = await service.sign_in()

    async with service.sessions() as session:
        stored = await session.scalar(sa.text("SELECT password_hash FROM user_account"))
    assert "m=8192,t=1" not in stored
    await service.sign_in()
    me = await service.http.get("/v1/users/me", headers=bearer(tokens))
    assert (me.json(), me.headers["etag"]) == (user, '"1"')


async def test_half_of_a_surrogate_pair_in_a_secret_is_invalid(service: UsersService) -> None:
    for path, body in (
        ("/v1/sessions", r'{"email": "ada@orderly.example", "password": "\ud800"}'),
        ("/v1/sessions/refresh", r'{"refresh_token": "\ud800"}'),
    ):
        response = await service.http.post(path, content=body, headers={"Content-Type": "application/json"})
        assert problem(response) == (422, "validation_failed")


async def test_a_suspended_account_can_neither_sign_in_nor_refresh(service: UsersService) -> None:
    await service.sign_up()
    tokens = await service.sign_in()
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET status = 'suspended'"))

    sign_in = await service.http.post("/v1/sessions", json={"email": ADA["email"], "password": PASSWORD})
    refresh = await service.http.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})

    assert problem(sign_in) == (403, "account_inactive")
    assert problem(refresh) == (401, "refresh_token_invalid")
