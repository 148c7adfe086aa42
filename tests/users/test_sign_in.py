"""Signing in: credentials, tokens, and the throttling of guesses."""

import asyncio
import time
from uuid import UUID

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from joserfc import jwt
from joserfc.jwk import KeySet
from pydantic import SecretStr

from services.users.credentials.passwords import Passwords
from services.users.sessions.sign_in import CredentialsInvalid
from shared.http.token_keys import SIGNATURES
from tests.harness.asgi import client_of
from tests.harness.problems import problem
from tests.users.service import ADA, PASSWORD, UsersService, bearer

WRONG = {"email": ADA["email"], "password": "wrong password"}


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


async def test_an_unknown_account_takes_as_long_as_a_wrong_password() -> None:
    passwords = Passwords(concurrency=1)
    stored = await passwords.hash(SecretStr(PASSWORD))

    async def seconds(stored_hash: str | None) -> float:
        started_at = time.process_time()
        check = await passwords.verify(SecretStr("wrong password"), stored_hash=stored_hash)
        assert not check.is_right
        return time.process_time() - started_at

    known = min([await seconds(stored) for _ in range(5)])
    unknown = min([await seconds(None) for _ in range(5)])
    assert 0.5 < unknown / known < 2


async def test_an_account_is_blocked_after_too_many_failures(service: UsersService) -> None:
    await service.sign_up()
    for _ in range(3):
        assert problem(await service.http.post("/v1/sessions", json=WRONG)) == (401, "credentials_invalid")

    response = await service.http.post("/v1/sessions", json=WRONG | {"password": PASSWORD})

    assert problem(response) == (429, "too_many_attempts")
    assert 0 < int(response.headers["retry-after"]) <= 15 * 60


async def test_simultaneous_guesses_do_not_exceed_the_limit(service: UsersService) -> None:
    await service.sign_up()

    responses = await asyncio.gather(*(service.http.post("/v1/sessions", json=WRONG) for _ in range(6)))

    assert sorted(response.status_code for response in responses) == [401, 401, 401, 429, 429, 429]


async def test_an_address_is_blocked_after_guesses_at_many_accounts(service: UsersService) -> None:
    for number in range(6):
        guess = {"email": f"user{number}@orderly.example", "password": "wrong password"}
        assert problem(await service.http.post("/v1/sessions", json=guess)) == (401, "credentials_invalid")
    await service.sign_up()

    response = await service.http.post("/v1/sessions", json=WRONG)

    assert problem(response) == (429, "too_many_attempts")


async def attempt(service: UsersService, password: str, *, address: str, email: str = ADA["email"]) -> str:
    """Sign in from an address, over the address that the client of the application reports."""
    async with client_of(service.app, address=address) as http:
        response = await http.post("/v1/sessions", json={"email": email, "password": password})
    return str(response.json().get("code", "signed in"))


async def test_guesses_from_elsewhere_do_not_lock_out_an_account_at_its_usual_address(service: UsersService) -> None:
    await service.sign_up()
    assert await attempt(service, PASSWORD, address="192.0.2.1") == "signed in"

    guesses = [await attempt(service, "wrong password", address=f"198.51.100.{n}") for n in range(7)]

    assert guesses == ["credentials_invalid"] * 5 + ["too_many_attempts"] * 2
    assert await attempt(service, PASSWORD, address="192.0.2.1") == "signed in"
    assert await attempt(service, PASSWORD, address="203.0.113.1") == "too_many_attempts"


async def test_guesses_at_other_accounts_do_not_lock_out_known_accounts_of_an_address(service: UsersService) -> None:
    await service.sign_up()
    await service.sign_up(email="eve@orderly.example")
    assert await attempt(service, PASSWORD, address="192.0.2.1") == "signed in"
    for number in range(6):
        email = f"user{number}@orderly.example"
        await attempt(service, "wrong password", address="192.0.2.1", email=email)

    assert await attempt(service, PASSWORD, address="192.0.2.1") == "signed in"
    assert await attempt(service, PASSWORD, address="192.0.2.1", email="eve@orderly.example") == "too_many_attempts"


async def test_guesses_at_a_known_account_from_its_address_are_limited(service: UsersService) -> None:
    await service.sign_up()
    await attempt(service, PASSWORD, address="192.0.2.1")

    codes = [await attempt(service, "wrong password", address="192.0.2.1") for _ in range(4)]

    assert codes == ["credentials_invalid"] * 3 + ["too_many_attempts"]


async def test_failures_at_an_address_of_many_clients_are_not_added_up(service: UsersService) -> None:
    await service.sign_up()
    for number in range(8):
        email = f"user{number}@orderly.example"
        assert await attempt(service, "wrong password", address="172.18.0.1", email=email) == "credentials_invalid"

    assert await attempt(service, PASSWORD, address="172.18.0.1") == "signed in"


async def test_a_blocked_address_does_not_block_accounts(service: UsersService) -> None:
    await service.sign_up()
    for number in range(6):
        guess = {"email": f"user{number}@orderly.example", "password": "wrong password"}
        await service.http.post("/v1/sessions", json=guess)
    for _ in range(4):
        assert problem(await service.http.post("/v1/sessions", json=WRONG)) == (429, "too_many_attempts")

    async with service.app.state.sign_in_throttle.attempt(
        email=ADA["email"], address="another", failure=CredentialsInvalid
    ):
        pass


async def test_right_passwords_are_not_counted(service: UsersService) -> None:
    await service.sign_up()

    for _ in range(8):
        await service.sign_in()


async def test_a_right_password_resets_the_failures_of_the_account(service: UsersService) -> None:
    await service.sign_up()
    for _ in range(2):
        for _ in range(2):
            await service.http.post("/v1/sessions", json=WRONG)
        await service.sign_in()


async def test_an_error_of_ours_does_not_count_as_a_failure(service: UsersService) -> None:
    throttle = service.app.state.sign_in_throttle
    for _ in range(7):
        with pytest.raises(OSError, match="the database is unavailable"):
            async with throttle.attempt(email=ADA["email"], address="one", failure=CredentialsInvalid):
                raise OSError("the database is unavailable")

    async with throttle.attempt(email=ADA["email"], address="one", failure=CredentialsInvalid):
        pass


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


async def test_hashing_leaves_the_event_loop_free() -> None:
    passwords = Passwords(concurrency=1)
    hashing = asyncio.gather(*(passwords.hash(SecretStr(PASSWORD)) for _ in range(3)))
    iterations = 0
    while not hashing.done():
        iterations += 1
        await asyncio.sleep(0.001)
    assert iterations > 10
