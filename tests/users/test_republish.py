"""Republication of accounts, also while they are updated."""

import asyncio

import pytest

from services.users.accounts.commands import update_profile
from services.users.jobs import REPUBLISHED
from shared.messaging.outbox.republish import count_aggregates, republish_page
from shared.operations.sending import NotRepublished, Sending
from shared.preconditions import Precondition
from tests.users.service import UsersService

(USERS,) = REPUBLISHED


async def republish(service: UsersService, *types: str) -> None:
    """Republish all users of these types, two users at a time."""
    sending = Sending(REPUBLISHED, page_rows=2)
    async with service.sessions.begin() as session:
        operation = await sending.begin_republication(session, types=types, since=None, actor="operator")
    ended = await sending.run(service.sessions, operation.id)
    assert ended is not None
    assert (ended.status, ended.done) == ("done", ended.total)


async def test_every_user_is_republished_with_the_current_state(service: UsersService) -> None:
    accounts = [await service.create_account(email=f"user-{n}@orderly.example") for n in range(5)]
    await republish(service)
    assert await service.events() == [
        (
            "user.updated",
            {
                "user_id": str(account.id),
                "email": account.email,
                "name": "Grace Hopper",
                "phone": None,
                "locale": "en",
                "time_zone": "UTC",
                "email_verified": False,
            },
        )
        for account in accounts
    ]


async def test_since_leaves_out_unchanged_users(service: UsersService) -> None:
    await service.create_account(email="old@orderly.example")
    new = await service.create_account(email="new@orderly.example")
    async with service.sessions.begin() as session:
        assert await count_aggregates(session, USERS, since=new.updated_at) == 1
        assert await republish_page(session, USERS, since=new.updated_at, after=None) == [str(new.id)]


async def test_each_page_continues_after_the_last(service: UsersService) -> None:
    ids = sorted([str((await service.create_account(email=f"user-{n}@orderly.example")).id) for n in range(5)])
    pages: list[list[str]] = []
    async with service.sessions.begin() as session:
        while not pages or pages[-1]:
            after = pages[-1][-1] if pages else None
            pages.append(await republish_page(session, USERS, since=None, after=after, limit=2))
            assert len(pages) <= 4
    assert pages == [ids[:2], ids[2:4], ids[4:], []]


async def test_an_unknown_type_is_rejected(service: UsersService) -> None:
    async with service.sessions.begin() as session:
        with pytest.raises(NotRepublished, match="The service republishes: users"):
            await Sending(REPUBLISHED).begin_republication(session, types=["orders"], since=None, actor="operator")


async def test_a_page_waits_for_an_update_and_publishes_the_state_after_it(
    service: UsersService,
) -> None:
    account = await service.create_account()
    async with service.sessions.begin() as session:
        await update_profile(
            session, user_id=account.id, precondition=Precondition.exactly(1), changes={"name": "Grace B. Hopper"}
        )
        waiting = asyncio.create_task(republish(service))
        done, _ = await asyncio.wait({waiting}, timeout=0.5)
        assert not done
    await waiting
    assert [data["name"] for _, data in await service.events()] == ["Grace B. Hopper"] * 2


async def test_an_update_waits_for_the_page_with_the_state_before_it(service: UsersService) -> None:
    account = await service.create_account()

    async def update() -> None:
        async with service.sessions.begin() as session:
            await update_profile(
                session, user_id=account.id, precondition=Precondition.exactly(1), changes={"name": "Grace B. Hopper"}
            )

    async with service.sessions.begin() as session:
        await republish_page(session, USERS, since=None, after=None)
        waiting = asyncio.create_task(update())
        done, _ = await asyncio.wait({waiting}, timeout=0.5)
        assert not done
    await waiting
    assert [data["name"] for _, data in await service.events()] == ["Grace Hopper", "Grace B. Hopper"]
