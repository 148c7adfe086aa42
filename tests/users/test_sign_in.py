"""Signing in: what it takes, what it gives, and how guessing is slowed."""

import asyncio
import time
from uuid import UUID

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from joserfc import jwt
from joserfc.jwk import KeySet
from pydantic import SecretStr

from services.users.passwords import Passwords
from tests.users.front_door import ADA, PASSWORD, FrontDoor, bearer, problem

WRONG = {"email": ADA["email"], "password": "wrong password"}


async def test_credentials_give_a_token_pair(users: FrontDoor) -> None:
    user = await users.sign_up()

    answer = await users.client.post("/v1/sessions", json={"email": "ada@ORDERLY.example", "password": PASSWORD})

    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 900)
    me = await users.client.get("/v1/users/me", headers=bearer(body))
    assert me.json() == user


async def test_the_access_token_holds_what_every_service_checks(users: FrontDoor) -> None:
    user = await users.sign_up()
    tokens = await users.sign_in()
    published = KeySet.import_key_set((await users.client.get("/.well-known/jwks.json")).json())

    token = jwt.decode(tokens["access_token"], published, algorithms=["Ed25519"])

    claims = token.claims
    assert token.header == {"typ": "JWT", "alg": "Ed25519", "kid": "new"}
    assert abs(claims["iat"] - time.time()) < 60
    assert claims == {
        "iss": "orderly",
        "aud": "orderly",
        "sub": user["id"],
        "sid": tokens["session_id"],
        "roles": ["customer"],
        "iat": claims["iat"],
        "exp": claims["iat"] + 900,
        "jti": str(UUID(claims["jti"])),
    }


@pytest.mark.parametrize("email", [ADA["email"], "nobody@orderly.example"])
async def test_a_wrong_password_and_an_unknown_account_are_refused_alike(users: FrontDoor, email: str) -> None:
    await users.sign_up()

    answer = await users.client.post("/v1/sessions", json={"email": email, "password": "wrong password"})

    assert problem(answer) == (401, "credentials_invalid")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_an_unknown_account_costs_as_much_as_a_wrong_password() -> None:
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


async def test_failures_close_the_account_to_guessing_for_a_while(users: FrontDoor) -> None:
    await users.sign_up()
    for _ in range(3):
        assert problem(await users.client.post("/v1/sessions", json=WRONG)) == (401, "credentials_invalid")

    answer = await users.client.post("/v1/sessions", json=WRONG | {"password": PASSWORD})

    assert problem(answer) == (429, "too_many_attempts")
    assert 0 < int(answer.headers["retry-after"]) <= 15 * 60


async def test_guesses_made_at_once_do_not_get_past_the_limit(users: FrontDoor) -> None:
    await users.sign_up()

    answers = await asyncio.gather(*(users.client.post("/v1/sessions", json=WRONG) for _ in range(6)))

    assert sorted(answer.status_code for answer in answers) == [401, 401, 401, 429, 429, 429]


async def test_one_address_can_not_guess_at_many_accounts(users: FrontDoor) -> None:
    for number in range(6):
        guess = {"email": f"user{number}@orderly.example", "password": "wrong password"}
        assert problem(await users.client.post("/v1/sessions", json=guess)) == (401, "credentials_invalid")
    await users.sign_up()

    answer = await users.client.post("/v1/sessions", json=WRONG)

    assert problem(answer) == (429, "too_many_attempts")


async def test_an_address_that_is_refused_does_not_close_accounts(users: FrontDoor) -> None:
    await users.sign_up()
    for number in range(6):
        guess = {"email": f"user{number}@orderly.example", "password": "wrong password"}
        await users.client.post("/v1/sessions", json=guess)
    for _ in range(4):
        assert problem(await users.client.post("/v1/sessions", json=WRONG)) == (429, "too_many_attempts")

    async with users.app.state.sign_in_throttle.counted(email=ADA["email"], address="another"):
        pass


async def test_right_passwords_are_not_counted(users: FrontDoor) -> None:
    await users.sign_up()

    for _ in range(8):
        await users.sign_in()


async def test_a_right_password_forgets_the_failures_before_it(users: FrontDoor) -> None:
    await users.sign_up()
    for _ in range(2):
        for _ in range(2):
            await users.client.post("/v1/sessions", json=WRONG)
        await users.sign_in()


async def test_trouble_of_ours_is_not_counted_as_a_failure(users: FrontDoor) -> None:
    attempts = users.app.state.sign_in_throttle
    for _ in range(7):
        with pytest.raises(OSError, match="the database is gone"):
            async with attempts.counted(email=ADA["email"], address="one"):
                raise OSError("the database is gone")

    async with attempts.counted(email=ADA["email"], address="one"):
        pass


async def test_a_hash_of_weaker_parameters_is_renewed_at_sign_in(users: FrontDoor) -> None:
    user = await users.sign_up()
    weak = PasswordHasher(time_cost=1, memory_cost=8192).hash(PASSWORD)
    async with users.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET password_hash = :hash"), {"hash": weak})

    tokens = await users.sign_in()

    async with users.sessions() as session:
        stored = await session.scalar(sa.text("SELECT password_hash FROM user_account"))
    assert "m=8192,t=1" not in stored
    await users.sign_in()
    me = await users.client.get("/v1/users/me", headers=bearer(tokens))
    assert (me.json(), me.headers["etag"]) == (user, '"1"')


async def test_half_a_letter_in_a_secret_is_a_wrong_request(users: FrontDoor) -> None:
    for path, body in (
        ("/v1/sessions", r'{"email": "ada@orderly.example", "password": "\ud800"}'),
        ("/v1/sessions/refresh", r'{"refresh_token": "\ud800"}'),
    ):
        answer = await users.client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert problem(answer) == (422, "validation_failed")


async def test_an_account_that_is_not_active_is_refused(users: FrontDoor) -> None:
    await users.sign_up()
    tokens = await users.sign_in()
    async with users.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET status = 'suspended'"))

    sign_in = await users.client.post("/v1/sessions", json={"email": ADA["email"], "password": PASSWORD})
    refresh = await users.client.post("/v1/sessions/refresh", json={"refresh_token": tokens["refresh_token"]})

    assert problem(sign_in) == (403, "account_inactive")
    assert problem(refresh) == (401, "refresh_token_invalid")


async def test_hashing_leaves_the_event_loop_free() -> None:
    passwords = Passwords(concurrency=1)
    hashing = asyncio.gather(*(passwords.hash(SecretStr(PASSWORD)) for _ in range(3)))
    turns = 0
    while not hashing.done():
        turns += 1
        await asyncio.sleep(0.001)
    assert turns > 10
