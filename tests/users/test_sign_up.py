"""Signing up: the new user, invalid bodies, and idempotency."""

import asyncio
import json
from typing import Any

import sqlalchemy as sa

from tests.harness.problems import problem
from tests.users.service import ADA, UsersService, bearer

WRONG: dict[str, list[Any]] = {
    "email": ["ada", f"ada@{'a.' * 125}example", "ada\x00@orderly.example"],
    "name": [
        "",
        "   ",
        "Ada\x00",
        "\ud800",
        "a" * 201,
        1,
        None,
        "\u202eada",
        "See www.evil.example",
        "evil.com",
        "\u200d",
    ],
    "password": ["too short", "a" * 129, "\ud800 is half of a surrogate pair"],
    "phone": ["02071838750", "+44207183\u0668750"],
    "locale": ["english", ""],
    "time_zone": ["Mars/Olympus_Mons", ""],
    "roles": [["admin"]],
}


async def test_a_new_user_is_returned_stored_and_recorded_as_an_event(service: UsersService) -> None:
    response = await service.http.post("/v1/users", json=ADA | {"phone": "+442071838750", "time_zone": "Europe/London"})

    body = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/v1/users/{body['id']}"
    assert response.headers["etag"] == '"1"'
    address = {"email": "Ada@orderly.example", "name": "Ada Lovelace", "phone": "+442071838750", "locale": "en"}
    assert body == {
        **address,
        "time_zone": "Europe/London",
        "bio": None,
        "id": body["id"],
        "roles": ["customer"],
        "status": "active",
        "email_verified_at": None,
        "created_at": body["created_at"],
        "updated_at": body["updated_at"],
    }
    created, verification = await service.events(without=())
    assert created == (
        "user.created",
        {**address, "time_zone": "Europe/London", "user_id": body["id"], "email_verified": False},
    )
    assert verification[0] == "user.email_verification_requested"
    credit = await service.http.get("/v1/users/me/credit", headers=bearer(await service.sign_in()))
    assert credit.json() == {
        "limit_cents": 100_000,
        "reserved_cents": 0,
        "used_cents": 0,
        "available_cents": 100_000,
        "currency": "GBP",
    }


async def test_a_taken_address_is_rejected_in_any_case(service: UsersService) -> None:
    await service.sign_up()

    response = await service.http.post("/v1/users", json=ADA | {"email": "ADA@ORDERLY.EXAMPLE"})

    assert problem(response) == (409, "email_taken")
    assert len(await service.events(without=())) == 2


async def test_only_one_of_simultaneous_sign_ups_gets_an_address(service: UsersService) -> None:
    responses = await asyncio.gather(*(service.http.post("/v1/users", json=ADA) for _ in range(6)))

    assert sorted(response.status_code for response in responses) == [201, 409, 409, 409, 409, 409]


async def test_a_repeat_with_the_same_key_gets_the_first_response(service: UsersService) -> None:
    header = {"Idempotency-Key": "sign-up-of-ada"}
    first = await service.http.post("/v1/users", json=ADA, headers=header)

    repeat = await service.http.post("/v1/users", json=ADA, headers=header)

    assert (repeat.status_code, repeat.json()) == (201, first.json())
    assert repeat.headers["etag"] == first.headers["etag"]
    assert len(await service.events(without=())) == 2


async def test_a_key_can_not_be_reused_with_another_body(service: UsersService) -> None:
    header = {"Idempotency-Key": "sign-up-of-ada"}
    await service.http.post("/v1/users", json=ADA, headers=header)

    response = await service.http.post("/v1/users", json=ADA | {"name": "Augusta King"}, headers=header)

    assert problem(response) == (422, "idempotency_key_reused")


async def test_the_fingerprint_of_a_body_leaves_out_the_password(service: UsersService) -> None:
    header = {"Idempotency-Key": "k"}
    first = await service.http.post("/v1/users", json=ADA, headers=header)

    repeat = await service.http.post("/v1/users", json=ADA | {"password": "another password"}, headers=header)

    assert (repeat.status_code, repeat.json()) == (201, first.json())
    await service.sign_in()  # with the first password


async def test_the_password_is_stored_as_argon2id_and_never_shown(service: UsersService) -> None:
    response = await service.http.post("/v1/users", json=ADA)

    async with service.sessions() as session:
        stored = await session.scalar(sa.text("SELECT password_hash FROM user_account"))
        events = await session.scalar(sa.text("SELECT string_agg(encode(payload, 'escape'), '') FROM outbox"))
    assert stored.startswith("$argon2id$")
    for shown in (response.text, events):
        assert ADA["password"] not in shown
        assert "argon2" not in shown


async def test_an_invalid_member_is_named_in_the_error(service: UsersService) -> None:
    for field, values in WRONG.items():
        for value in values:
            body = json.dumps(ADA | {field: value})  # httpx could not encode half of a surrogate pair
            response = await service.http.post("/v1/users", content=body, headers={"Content-Type": "application/json"})

            assert problem(response) == (422, "validation_failed"), (field, value)
            assert [error["pointer"] for error in response.json()["errors"]] == [f"/{field}"]
            assert ADA["password"] not in response.text
            assert field != "password" or value not in response.text
    assert await service.events(without=()) == []


async def test_an_unknown_path_is_a_problem(service: UsersService) -> None:
    assert problem(await service.http.get("/v1/nothing/here")) == (404, "not_found")
