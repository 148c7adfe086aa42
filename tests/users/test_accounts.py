"""Accounts: users read and update their own, staff read all of them."""

import asyncio
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from services.users.accounts.commands import replace_password_hash
from services.users.models.accounts import UserAccount
from tests.harness.databases import until_waiting
from tests.harness.problems import problem
from tests.users.service import ADA, UsersService

MATCHING = {"If-Match": '"1"'}


async def test_an_update_is_returned_stored_and_recorded_as_an_event(service: UsersService) -> None:
    header = await service.sign_up_and_in(email=ADA["email"])
    before = (await service.http.get("/v1/users/me", headers=header)).json()
    seen = {"name": "Augusta King", "phone": "+442071838750", "locale": "en-GB", "time_zone": "Europe/London"}
    changes = seen | {"bio": "I write programs\nfor engines: https://orderly.example"}

    response = await service.http.patch("/v1/users/me", json=changes, headers=header | MATCHING)

    body = response.json()
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    assert body == before | changes | {"updated_at": body["updated_at"]}
    assert body["updated_at"] > before["updated_at"]
    assert (await service.http.get("/v1/users/me", headers=header)).json() == body
    data = {"user_id": body["id"], "email": ADA["email"], "email_verified": False, **seen}
    assert await service.events() == [("user.updated", data)]


async def test_members_left_out_keep_their_values_and_null_removes_phone_and_bio(service: UsersService) -> None:
    header = await service.sign_up_and_in()
    both = {"phone": "+442071838750", "bio": "Mathematician."}
    await service.http.patch("/v1/users/me", json=both, headers=header | MATCHING)

    nothing = {"phone": None, "bio": None}
    response = await service.http.patch("/v1/users/me", json=nothing, headers=header | {"If-Match": '"2"'})

    body = response.json()
    assert (body["phone"], body["bio"], body["name"]) == (None, None, ADA["name"])


async def test_an_update_to_the_same_values_makes_no_version_and_no_event(service: UsersService) -> None:
    header = await service.sign_up_and_in()

    for body in ({}, {"name": ADA["name"]}):
        response = await service.http.patch("/v1/users/me", json=body, headers=header | MATCHING)
        assert (response.status_code, response.headers["etag"]) == (200, '"1"')

    assert await service.events() == []


async def test_an_update_requires_the_present_version(service: UsersService) -> None:
    header = await service.sign_up_and_in()

    missing = await service.http.patch("/v1/users/me", json={"name": "A"}, headers=header)
    stale = await service.http.patch("/v1/users/me", json={"name": "A"}, headers=header | {"If-Match": '"7"'})

    assert problem(missing) == (428, "precondition_required")
    assert problem(stale) == (412, "precondition_failed")


async def test_only_one_of_simultaneous_updates_of_a_version_succeeds(service: UsersService) -> None:
    header = await service.sign_up_and_in() | MATCHING

    async with service.sessions.begin() as session:
        # Hold the lock until all requests wait for the row.
        await session.execute(sa.select(UserAccount.id).with_for_update())
        changes = asyncio.gather(
            *(service.http.patch("/v1/users/me", json={"name": f"Ada {n}"}, headers=header) for n in range(5))
        )
        await until_waiting(service.sessions, transactions=5)

    assert sorted(response.status_code for response in await changes) == [200, 412, 412, 412, 412]
    assert len(await service.events()) == 1


async def test_an_invalid_update_is_rejected(service: UsersService) -> None:
    header = await service.sign_up_and_in() | MATCHING
    wrong: list[Any] = [{"name": None}, {"name": ""}, {"locale": None}, {"time_zone": ""}, {"email": "a@b.example"}, []]
    wrong += [
        {"name": "https://evil.example"},
        {"name": "evil.com"},
        {"name": "A\u202eda"},
        {"bio": "\u2067"},
        {"bio": "b" * 2_001},
    ]
    for body in wrong:
        response = await service.http.patch("/v1/users/me", json=body, headers=header)
        assert problem(response) == (422, "validation_failed"), body


async def test_a_valid_token_of_a_missing_account_finds_no_user(service: UsersService) -> None:
    account = await service.create_account()
    account.id = uuid4()
    token, _ = await service.app.state.access_tokens.issue(account, session_id=uuid4())

    for path in ("/v1/users/me", "/v1/users/me/credit"):
        response = await service.http.get(path, headers={"Authorization": f"Bearer {token}"})
        assert problem(response) == (404, "user_not_found")


async def test_support_can_read_any_user(service: UsersService) -> None:
    header = await service.header_with("support")
    account = await service.create_account()

    response = await service.http.get(f"/v1/users/{account.id}", headers=header)
    missing = await service.http.get(f"/v1/users/{uuid4()}", headers=header)

    assert (response.json()["email"], response.headers["etag"]) == (account.email, '"1"')
    assert problem(missing) == (404, "user_not_found")


async def test_a_renewed_hash_does_not_replace_a_changed_password(service: UsersService) -> None:
    account = await service.create_account()
    for old_hash, new_hash in [("none", "changed"), ("none", "none under newer parameters")]:
        async with service.sessions.begin() as session:
            await replace_password_hash(session, user_id=account.id, old_hash=old_hash, new_hash=new_hash)
    async with service.sessions() as session:
        assert await session.scalar(sa.select(UserAccount.password_hash)) == "changed"
