"""Signing up: who can, what it makes, and what a repeat of it does."""

import asyncio
import json
from typing import Any

import sqlalchemy as sa

from tests.users.front_door import ADA, FrontDoor, bearer, problem

WRONG: dict[str, list[Any]] = {
    "email": ["ada", f"ada@{'a.' * 125}example", "ada\x00@orderly.example"],
    "name": ["", "   ", "Ada\x00", "\ud800", "a" * 201, 1, None],
    "password": ["too short", "a" * 129, "\ud800 is half a letter"],
    "phone": ["02071838750", "+44207183\u0668750"],
    "locale": ["english", ""],
    "time_zone": ["Mars/Olympus_Mons", ""],
    "roles": [["admin"]],
}


async def test_a_new_user_is_answered_stored_and_told(users: FrontDoor) -> None:
    answer = await users.client.post("/v1/users", json=ADA | {"phone": "+442071838750", "time_zone": "Europe/London"})

    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/users/{body['id']}"
    assert answer.headers["etag"] == '"1"'
    address = {"email": "Ada@orderly.example", "name": "Ada Lovelace", "phone": "+442071838750", "locale": "en"}
    assert body == {
        **address,
        "time_zone": "Europe/London",
        "id": body["id"],
        "roles": ["customer"],
        "status": "active",
        "email_verified_at": None,
        "created_at": body["created_at"],
        "updated_at": body["updated_at"],
    }
    assert await users.events(but="") == [
        ("user.created", {**address, "time_zone": "Europe/London", "user_id": body["id"]})
    ]
    credit = await users.client.get("/v1/users/me/credit", headers=bearer(await users.sign_in()))
    assert credit.json() == {
        "limit_cents": 100_000,
        "reserved_cents": 0,
        "used_cents": 0,
        "available_cents": 100_000,
        "currency": "GBP",
    }


async def test_an_address_is_taken_whatever_the_case_of_its_letters(users: FrontDoor) -> None:
    await users.sign_up()

    answer = await users.client.post("/v1/users", json=ADA | {"email": "ADA@ORDERLY.EXAMPLE"})

    assert problem(answer) == (409, "email_taken")
    assert len(await users.events(but="")) == 1


async def test_of_many_who_sign_up_at_once_with_one_address_one_gets_it(users: FrontDoor) -> None:
    answers = await asyncio.gather(*(users.client.post("/v1/users", json=ADA) for _ in range(6)))

    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]


async def test_a_repeat_with_its_key_gets_the_first_answer(users: FrontDoor) -> None:
    header = {"Idempotency-Key": "sign-up-of-ada"}
    first = await users.client.post("/v1/users", json=ADA, headers=header)

    repeat = await users.client.post("/v1/users", json=ADA, headers=header)

    assert (repeat.status_code, repeat.json()) == (201, first.json())
    assert repeat.headers["etag"] == first.headers["etag"]
    assert len(await users.events(but="")) == 1


async def test_a_key_is_not_for_another_body(users: FrontDoor) -> None:
    header = {"Idempotency-Key": "sign-up-of-ada"}
    await users.client.post("/v1/users", json=ADA, headers=header)

    answer = await users.client.post("/v1/users", json=ADA | {"name": "Augusta King"}, headers=header)

    assert problem(answer) == (422, "idempotency_key_reused")


async def test_the_fingerprint_of_a_body_says_nothing_of_the_password(users: FrontDoor) -> None:
    header = {"Idempotency-Key": "k"}
    first = await users.client.post("/v1/users", json=ADA, headers=header)

    repeat = await users.client.post("/v1/users", json=ADA | {"password": "another password"}, headers=header)

    assert (repeat.status_code, repeat.json()) == (201, first.json())
    await users.sign_in()  # the first password is the one that counts


async def test_the_password_is_stored_as_argon2id_and_shown_nowhere(users: FrontDoor) -> None:
    answer = await users.client.post("/v1/users", json=ADA)

    async with users.sessions() as session:
        stored = await session.scalar(sa.text("SELECT password_hash FROM user_account"))
        events = await session.scalar(sa.text("SELECT string_agg(encode(payload, 'escape'), '') FROM outbox"))
    assert stored.startswith("$argon2id$")
    for shown in (answer.text, events):
        assert ADA["password"] not in shown
        assert "argon2" not in shown


async def test_what_is_wrong_with_a_body_is_pointed_at(users: FrontDoor) -> None:
    for field, values in WRONG.items():
        for value in values:
            body = json.dumps(ADA | {field: value})  # the client itself could not send half a letter
            answer = await users.client.post("/v1/users", content=body, headers={"Content-Type": "application/json"})

            assert problem(answer) == (422, "validation_failed"), (field, value)
            assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{field}"]
            assert ADA["password"] not in answer.text
            assert field != "password" or value not in answer.text
    assert await users.events(but="") == []


async def test_an_unknown_path_is_a_problem(users: FrontDoor) -> None:
    assert problem(await users.client.get("/v1/nothing/here")) == (404, "not_found")
