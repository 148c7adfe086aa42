"""Credit under concurrency: transactions that wait for the same account, or read the same reservation."""

import asyncio
from uuid import uuid4

import pytest
import sqlalchemy as sa

from services.users.credit.batch import ReservedMeanwhile, lock_credit, write_credit
from shared.events.contract import Event
from tests.harness.databases import until_waiting
from tests.users.orders import Order
from tests.users.service import UsersService, apply_events


async def test_simultaneous_orders_never_reserve_more_than_the_limit(service: UsersService) -> None:
    account = await service.create_account(limit_cents=1_000)
    orders = [Order(account.id, total_cents=100) for _ in range(30)]

    await asyncio.gather(*(service.apply(order.created()) for order in orders))

    assert await service.credit(account.id) == (1_000, 0)
    types = [type_ for type_, _ in await service.events()]
    assert (types.count("user.credit_reserved"), types.count("user.credit_refused")) == (10, 20)


async def test_sums_are_right_after_many_simultaneous_orders(service: UsersService) -> None:
    account = await service.create_account(limit_cents=1_500)

    async def process(number: int) -> None:
        order = Order(account.id, total_cents=100 + number)
        ends: tuple[list[Event], ...] = (
            [],
            [order.cancelled()],
            [order.shipped()],
            [order.shipped(), order.refunded(50, refunded_cents=50)],
        )
        await service.apply_all(order.created(), *ends[number % 4])

    await asyncio.gather(*(process(number) for number in range(32)))

    reserved, used = await service.credit(account.id)
    assert reserved > 0
    assert used > 0


async def test_simultaneous_reservations_of_one_order_reserve_once(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id)

    await asyncio.gather(*(service.change_credit(order.created()) for _ in range(8)))

    assert await service.credit(account.id) == (600, 0)
    assert len(await service.events()) == 1


async def test_an_order_of_a_user_who_is_suspended_while_it_waits_is_refused(service: UsersService) -> None:
    """The user's status was read by the statement that waited, as it was before the wait."""
    account = await service.create_account()
    order = Order(account.id)

    async with service.sessions.begin() as session:
        await lock_credit(session, user_ids=[account.id], order_ids=[])
        waiting = asyncio.create_task(service.apply(order.created()))
        await until_waiting(service.sessions, transactions=1)
        await session.execute(sa.text("UPDATE user_account SET status = 'suspended'"))
    await waiting

    assert await service.events() == [("user.credit_refused", order.reply(reason="user_inactive"))]
    assert await service.credit(account.id) == (0, 0)


async def test_one_of_two_transactions_that_refuse_the_same_order_is_repeated(service: UsersService) -> None:
    """An unknown user has no account to lock, so both transactions find no reservation of the order."""
    order = Order(uuid4())

    async with service.sessions.begin() as session:
        await apply_events(session, order.created())
        second = asyncio.create_task(service.change_credit(order.created()))
        await until_waiting(service.sessions, transactions=1)

    with pytest.raises(ReservedMeanwhile):
        await second
    await service.change_credit(order.created())
    assert await service.events() == [("user.credit_refused", order.reply(reason="user_unknown"))]


async def test_a_change_of_another_users_order_meanwhile_is_kept(service: UsersService) -> None:
    """An event that names the wrong user reads the order's reservation without locking the owner's account."""
    owner, other = await service.create_account(), await service.create_account(email="other@orderly.example")
    order = Order(owner.id)
    await service.apply(order.created())

    async with service.sessions.begin() as session:
        credit = await lock_credit(session, user_ids=[other.id], order_ids=[order.id])
        await service.apply(order.shipped(), sequence=2)
        await write_credit(session, credit)

    assert await service.reservation(order) == ("used", 600)
    assert await service.credit(owner.id) == (0, 600)
