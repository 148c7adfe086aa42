"""The accounts as they are now, sent again while people change them."""

import asyncio

import pytest
import sqlalchemy as sa

from services.users.commands import update_profile
from services.users.jobs import REPUBLISHED
from services.users.models import UserAccount
from shared.messaging.outbox.republish import count_aggregates, republish_page
from shared.operations.sending import NotRepublished, Sending
from tests.users.front_door import FrontDoor

(USERS,) = REPUBLISHED


async def republish(users: FrontDoor, *types: str) -> None:
    async with users.sessions.begin() as session:
        operation = await Sending(REPUBLISHED).begin_republication(session, types=types, since=None, actor="operator")
    ended = await Sending(REPUBLISHED).run(users.sessions, operation.id)
    assert ended is not None
    assert (ended.status, ended.done) == ("done", ended.total)


async def test_every_user_is_told_of_as_they_are_now(users: FrontDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.messaging.outbox.republish.PAGE_ROWS", 2)
    monkeypatch.setattr("shared.operations.sending.PAGE_ROWS", 2)
    accounts = [await users.account(email=f"user-{n}@orderly.example") for n in range(5)]
    await republish(users)
    assert await users.events() == [
        (
            "user.updated",
            {
                "user_id": str(account.id),
                "email": account.email,
                "name": "Grace Hopper",
                "phone": None,
                "locale": "en",
                "time_zone": "UTC",
            },
        )
        for account in accounts
    ]


async def test_who_is_being_erased_is_not_brought_back(users: FrontDoor) -> None:
    kept = await users.account(email="kept@orderly.example")
    for status in ("erasing", "erased"):
        account = await users.account(email=f"{status}@orderly.example")
        async with users.sessions.begin() as session:
            await session.execute(sa.update(UserAccount).where(UserAccount.id == account.id).values(status=status))
    await republish(users, "users")
    assert [data["user_id"] for _, data in await users.events()] == [str(kept.id)]


async def test_since_leaves_out_whoever_has_not_changed(users: FrontDoor) -> None:
    await users.account(email="old@orderly.example")
    new = await users.account(email="new@orderly.example")
    async with users.sessions.begin() as session:
        assert await count_aggregates(session, USERS, since=new.updated_at) == 1
        assert await republish_page(session, USERS, since=new.updated_at, after=None) == [str(new.id)]


async def test_each_page_goes_on_after_the_last(users: FrontDoor) -> None:
    ids = sorted([str((await users.account(email=f"user-{n}@orderly.example")).id) for n in range(5)])
    pages: list[list[str]] = []
    async with users.sessions.begin() as session:
        while not pages or pages[-1]:
            after = pages[-1][-1] if pages else None
            pages.append(await republish_page(session, USERS, since=None, after=after, limit=2))
            assert len(pages) <= 4
    assert pages == [ids[:2], ids[2:4], ids[4:], []]


async def test_a_type_that_this_service_does_not_have_is_refused(users: FrontDoor) -> None:
    async with users.sessions.begin() as session:
        with pytest.raises(NotRepublished, match="It sends: users"):
            await Sending(REPUBLISHED).begin_republication(session, types=["orders"], since=None, actor="operator")


async def test_a_change_that_is_under_way_is_waited_for_and_never_followed_by_what_was_before(users: FrontDoor) -> None:
    account = await users.account()
    async with users.sessions.begin() as session:
        await update_profile(session, user_id=account.id, expected_version=1, changes={"name": "Grace B. Hopper"})
        waiting = asyncio.create_task(republish(users))
        done, _ = await asyncio.wait({waiting}, timeout=0.5)
        assert not done
    await waiting
    assert [data["name"] for _, data in await users.events()] == ["Grace B. Hopper"] * 2


async def test_a_change_waits_for_the_page_that_tells_the_state_before_it(users: FrontDoor) -> None:
    account = await users.account()

    async def change() -> None:
        async with users.sessions.begin() as session:
            await update_profile(session, user_id=account.id, expected_version=1, changes={"name": "Grace B. Hopper"})

    async with users.sessions.begin() as session:
        await republish_page(session, USERS, since=None, after=None)
        waiting = asyncio.create_task(change())
        done, _ = await asyncio.wait({waiting}, timeout=0.5)
        assert not done
    await waiting
    assert [data["name"] for _, data in await users.events()] == ["Grace Hopper", "Grace B. Hopper"]
