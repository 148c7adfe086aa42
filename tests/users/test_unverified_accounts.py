"""Accounts whose address nobody verified are purged after 30 days, unless they hold credit."""

import asyncio
from functools import partial
from typing import Any

import sqlalchemy as sa

from services.users.recovery.jobs import with_recovery
from services.users.recovery.unverified_accounts import purge_unverified
from shared.jobs import Jobs
from shared.maintenance import purge_in_batches
from tests.harness.databases import until_waiting
from tests.harness.rows import Rows
from tests.users.mails import VERIFICATION, mailed_token, security_events
from tests.users.orders import Order
from tests.users.service import ADA, PASSWORD, UsersService

TABLES = ("user_account", "credit_account", "user_session", "refresh_token", "one_time_token")


async def age(service: UsersService, *users: dict[str, Any], days: int) -> None:
    async with service.sessions.begin() as session:
        await session.execute(
            sa.text("UPDATE user_account SET created_at = now() - make_interval(days => :days) WHERE id = ANY(:ids)"),
            {"days": days, "ids": [user["id"] for user in users]},
        )


async def purge(service: UsersService) -> None:
    """Run the scheduled job."""
    jobs = with_recovery(Jobs(), settings=service.app.state.settings, encryption=service.app.state.encryption)
    _, run = jobs._scheduled["purge_unverified_accounts"]
    await run(service.sessions)


async def emails(service: UsersService) -> list[str]:
    return [email for (email,) in await Rows(service.sessions).of("SELECT email FROM user_account ORDER BY email")]


async def test_an_account_that_was_not_verified_for_30_days_is_purged(service: UsersService) -> None:
    user = await service.sign_up()
    await service.sign_in()
    await age(service, user, days=30)

    await purge(service)

    assert [await Rows(service.sessions).count(table) for table in TABLES] == [0] * len(TABLES)
    assert await service.events() == [("user.purged", {"user_id": user["id"]})]
    assert await security_events(service) == [("account_purged", "system", {})]
    assert (await service.http.post("/v1/users", json=ADA)).status_code == 201


async def test_verified_young_and_used_accounts_are_kept(service: UsersService) -> None:
    verified = await service.sign_up(email="verified@orderly.example")
    token = await mailed_token(service, VERIFICATION)
    await service.http.post("/v1/email-verifications", json={"token": token, "password": PASSWORD})
    young = await service.sign_up(email="young@orderly.example")
    reserved = await service.create_account(email="reserved@orderly.example")
    await service.apply(Order(reserved.id).created())
    used = await service.create_account(email="used@orderly.example")
    order = Order(used.id)
    await service.apply_all(order.created(), order.shipped())
    await service.create_account(email="idle@orderly.example")
    before = await emails(service)
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET created_at = now() - interval '31 days'"))
    await age(service, young, days=29)
    assert verified["email"] in before

    await purge(service)

    assert set(before) - set(await emails(service)) == {"idle@orderly.example"}


async def test_many_accounts_are_purged_in_batches(service: UsersService) -> None:
    for number in range(5):
        await service.create_account(email=f"user{number}@orderly.example")
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET created_at = now() - interval '31 days'"))
        before = await session.scalar(sa.text("SELECT now() - interval '30 days'"))

    async with service.sessions.begin() as session:
        assert await purge_unverified(session, before=before, limit=2) == 2
    assert await purge_in_batches(service.sessions, partial(purge_unverified, before=before, limit=2)) == 3

    assert [type_ for type_, _ in await service.events()] == ["user.purged"] * 5


async def test_an_account_that_is_verified_meanwhile_is_kept(service: UsersService) -> None:
    user = await service.sign_up()
    await age(service, user, days=31)

    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET email_verified_at = now()"))
        await purge(service)  # skips the locked row

    await purge(service)
    assert await emails(service) == [user["email"]]


async def test_credit_that_is_reserved_meanwhile_keeps_the_account(service: UsersService) -> None:
    user = await service.create_account()
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET created_at = now() - interval '31 days'"))

    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE credit_account SET reserved_cents = reserved_cents"))
        reserving = asyncio.create_task(service.apply(Order(user.id).created()))
        await until_waiting(service.sessions, transactions=1)
        await purge(service)  # skips the locked row
    await reserving
    await purge(service)

    assert await emails(service) == [user.email]


async def test_an_order_of_a_purged_user_is_refused(service: UsersService) -> None:
    user = await service.create_account()
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET created_at = now() - interval '31 days'"))
    await purge(service)
    order = Order(user.id)

    await service.apply(order.created())

    assert (await service.events())[-1] == ("user.credit_refused", order.reply(reason="user_unknown"))
