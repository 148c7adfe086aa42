"""Accounts: reading and changing one's own, and what support and admin see."""

import asyncio
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from services.users.commands import replace_password_hash
from services.users.models import UserAccount
from tests.harness.databases import until_waiting
from tests.users.front_door import ADA, FrontDoor, problem

MATCHING = {"If-Match": '"1"'}


async def test_a_change_is_answered_stored_and_told(users: FrontDoor) -> None:
    header = await users.signed_in(email=ADA["email"])
    before = (await users.client.get("/v1/users/me", headers=header)).json()
    changes = {"name": "Augusta King", "phone": "+442071838750", "locale": "en-GB", "time_zone": "Europe/London"}

    answer = await users.client.patch("/v1/users/me", json=changes, headers=header | MATCHING)

    body = answer.json()
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    assert body == before | changes | {"updated_at": body["updated_at"]}
    assert body["updated_at"] > before["updated_at"]
    assert (await users.client.get("/v1/users/me", headers=header)).json() == body
    told = {"user_id": body["id"], "email": ADA["email"], **changes}
    assert await users.events() == [("user.updated", told)]


async def test_what_is_left_out_stays_and_null_removes_the_phone(users: FrontDoor) -> None:
    header = await users.signed_in()
    await users.client.patch("/v1/users/me", json={"phone": "+442071838750"}, headers=header | MATCHING)

    answer = await users.client.patch("/v1/users/me", json={"phone": None}, headers=header | {"If-Match": '"2"'})

    assert (answer.json()["phone"], answer.json()["name"]) == (None, ADA["name"])


async def test_a_change_that_changes_nothing_makes_no_version_and_no_event(users: FrontDoor) -> None:
    header = await users.signed_in()

    for body in ({}, {"name": ADA["name"]}):
        answer = await users.client.patch("/v1/users/me", json=body, headers=header | MATCHING)
        assert (answer.status_code, answer.headers["etag"]) == (200, '"1"')

    assert await users.events() == []


async def test_a_change_says_which_version_it_changes(users: FrontDoor) -> None:
    header = await users.signed_in()

    missing = await users.client.patch("/v1/users/me", json={"name": "A"}, headers=header)
    stale = await users.client.patch("/v1/users/me", json={"name": "A"}, headers=header | {"If-Match": '"7"'})

    assert problem(missing) == (428, "precondition_required")
    assert problem(stale) == (412, "precondition_failed")


async def test_of_changes_at_once_to_one_version_one_is_made(users: FrontDoor) -> None:
    header = await users.signed_in() | MATCHING

    async with users.sessions.begin() as session:
        # Held until all of them have come as far as the row.
        await session.execute(sa.select(UserAccount.id).with_for_update())
        changes = asyncio.gather(
            *(users.client.patch("/v1/users/me", json={"name": f"Ada {n}"}, headers=header) for n in range(5))
        )
        await until_waiting(users.sessions, transactions=5)

    assert sorted(answer.status_code for answer in await changes) == [200, 412, 412, 412, 412]
    assert len(await users.events()) == 1


async def test_a_wrong_change_is_refused(users: FrontDoor) -> None:
    header = await users.signed_in() | MATCHING
    wrong: list[Any] = [{"name": None}, {"name": ""}, {"locale": None}, {"time_zone": ""}, {"email": "a@b.example"}, []]
    for body in wrong:
        answer = await users.client.patch("/v1/users/me", json=body, headers=header)
        assert problem(answer) == (422, "validation_failed"), body


async def test_a_token_that_outlived_its_account_finds_nobody(users: FrontDoor) -> None:
    account = await users.account()
    account.id = uuid4()
    token = users.app.state.access_tokens.issue(account, session_id=uuid4())

    for path in ("/v1/users/me", "/v1/users/me/credit"):
        answer = await users.client.get(path, headers={"Authorization": f"Bearer {token}"})
        assert problem(answer) == (404, "user_not_found")


async def test_support_reads_one_user_and_a_missing_one_is_said_to_be(users: FrontDoor) -> None:
    header = await users.header_of("support")
    account = await users.account()

    answer = await users.client.get(f"/v1/users/{account.id}", headers=header)
    missing = await users.client.get(f"/v1/users/{uuid4()}", headers=header)

    assert (answer.json()["email"], answer.headers["etag"]) == (account.email, '"1"')
    assert problem(missing) == (404, "user_not_found")


async def test_users_are_listed_newest_first_page_by_page(users: FrontDoor) -> None:
    header = await users.header_of("admin")
    made = [str((await users.account(email=f"user{n}@orderly.example")).id) for n in range(4)]

    listed = []
    address = "/v1/users?limit=2"
    while address:
        page = await users.client.get(address, headers=header)
        listed += [item["id"] for item in page.json()["items"]]
        address = page.links["next"]["url"] if page.json()["next_cursor"] else ""

    assert listed[:4] == made[::-1]
    assert len(listed) == 5


async def test_users_are_found_by_address_and_by_status(users: FrontDoor) -> None:
    header = await users.header_of("admin")
    account = await users.account()

    found = {
        query: [item["id"] for item in (await users.client.get(f"/v1/users?{query}", headers=header)).json()["items"]]
        for query in ("email=GRACE@orderly.example", "email=nobody@orderly.example", "status=erased")
    }

    assert found == {
        "email=GRACE@orderly.example": [str(account.id)],
        "email=nobody@orderly.example": [],
        "status=erased": [],
    }
    assert len((await users.client.get("/v1/users?status=active", headers=header)).json()["items"]) == 2
    for query in ("email=%00", "status=odd", "limit=0"):
        answer = await users.client.get(f"/v1/users?{query}", headers=header)
        assert problem(answer) == (422, "validation_failed")


async def test_a_password_that_was_changed_meanwhile_is_not_put_back(users: FrontDoor) -> None:
    account = await users.account()
    for old_hash, new_hash in [("none", "changed"), ("none", "none under newer parameters")]:
        async with users.sessions.begin() as session:
            await replace_password_hash(session, user_id=account.id, old_hash=old_hash, new_hash=new_hash)
    async with users.sessions() as session:
        assert await session.scalar(sa.select(UserAccount.password_hash)) == "changed"
