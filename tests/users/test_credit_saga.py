"""The effects of an order's events on the user's credit."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from services.users.credit import ReservedMeanwhile, lock_credit, write_credit
from services.users.models import CreditReservation
from shared.events.contract import Event
from shared.ids import new_id
from shared.messaging.consumer.batch import HandlerFailed
from tests.harness.databases import until_waiting
from tests.users.orders import Order
from tests.users.service import UsersService, apply_events


async def apply_all(service: UsersService, *events: Event) -> None:
    for sequence, event in enumerate(events, start=1):
        await service.apply(event, sequence=sequence)


async def status_of(service: UsersService, order: Order) -> tuple[str, int]:
    async with service.sessions() as session:
        reservation = await session.get_one(CreditReservation, order.id)
        return reservation.status, reservation.amount_cents


async def test_credit_within_the_limit_is_reserved(service: UsersService) -> None:
    account = await service.create_account(limit_cents=600)
    order = Order(account.id)

    await service.apply(order.created())

    assert await service.events() == [("user.credit_reserved", order.reply())]
    assert await service.credit(account.id) == (600, 0)


async def test_an_order_above_the_available_credit_is_refused(service: UsersService) -> None:
    account = await service.create_account(limit_cents=1_000)
    first, second = Order(account.id), Order(account.id)
    await service.apply(first.created())

    await service.apply(second.created())

    assert (await service.events())[1:] == [("user.credit_refused", second.reply(reason="limit_exceeded"))]
    assert await service.credit(account.id) == (600, 0)


async def test_an_order_in_another_currency_is_refused(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id, currency="EUR")

    await service.apply(order.created())

    assert await service.events() == [("user.credit_refused", order.reply(reason="currency_mismatch"))]
    assert await service.credit(account.id) == (0, 0)


async def test_an_order_of_an_unknown_user_is_refused_once(service: UsersService) -> None:
    order = Order(uuid4())

    await service.apply(order.created())
    await service.apply(order.created(), sequence=2)

    assert await service.events() == [("user.credit_refused", order.reply(reason="user_unknown"))]


async def test_an_order_of_an_inactive_user_is_refused(service: UsersService) -> None:
    account = await service.create_account()
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET status = 'suspended'"))
    order = Order(account.id)

    await service.apply(order.created())

    assert await service.events() == [("user.credit_refused", order.reply(reason="user_inactive"))]
    assert await service.credit(account.id) == (0, 0)


async def test_a_repeated_event_changes_nothing(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id)
    event_id = new_id()
    await service.apply(order.created(), event_id=event_id)

    result = await service.apply(order.created(), event_id=event_id)

    assert result.duplicates == 1
    assert len(await service.events()) == 1
    assert await service.credit(account.id) == (600, 0)


async def test_events_repeated_under_new_ids_count_once(service: UsersService) -> None:
    account = await service.create_account()
    order, cancelled = Order(account.id), Order(account.id, total_cents=50)
    refunds = [order.refunded(200, refunded_cents=200), order.refunded(150, refunded_cents=350)]
    steps = [order.created(), order.shipped(), *refunds]

    for sequence, event in enumerate(step for step in steps for _ in range(2)):
        await service.apply(event, sequence=sequence + 1)
    await apply_all(service, cancelled.created(), cancelled.cancelled(), cancelled.cancelled())

    assert await service.credit(account.id) == (0, 250)
    assert [type_ for type_, _ in await service.events()] == [
        "user.credit_reserved",
        "user.credit_reserved",
        "user.credit_released",
    ]


@pytest.mark.parametrize("end", [Order.cancelled, Order.rejected])
async def test_a_cancelled_or_rejected_order_releases_its_credit(service: UsersService, end: Any) -> None:
    account = await service.create_account()
    order = Order(account.id)

    await apply_all(service, order.created(), end(order))

    assert (await service.events())[1:] == [("user.credit_released", order.reply())]
    assert await service.credit(account.id) == (0, 0)
    assert await status_of(service, order) == ("released", 600)


async def test_the_rejection_of_an_order_without_credit_changes_nothing(service: UsersService) -> None:
    account = await service.create_account(limit_cents=1)
    order = Order(account.id)

    await apply_all(service, order.created(), order.rejected())

    assert [type_ for type_, _ in await service.events()] == ["user.credit_refused"]
    assert await status_of(service, order) == ("refused", 600)


async def test_an_order_whose_cancellation_arrives_first_gets_no_credit(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id)

    await apply_all(service, order.cancelled(), order.created())

    assert await service.events() == []
    assert await service.credit(account.id) == (0, 0)
    assert await status_of(service, order) == ("released", 0)


async def test_a_shipped_order_uses_its_credit_and_refunds_return_it(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id)
    await apply_all(service, order.created(), order.shipped())
    assert await service.credit(account.id) == (0, 600)

    await service.apply(order.refunded(200, refunded_cents=200), sequence=3)
    assert await service.credit(account.id) == (0, 400)

    await service.apply(order.refunded(400, refunded_cents=600), sequence=4)
    assert await service.credit(account.id) == (0, 0)


async def test_a_refund_that_arrives_after_a_later_one_changes_nothing(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id)

    refunds = [order.refunded(100, refunded_cents=300), order.refunded(200, refunded_cents=200)]
    await apply_all(service, order.created(), order.shipped(), *refunds)

    assert await service.credit(account.id) == (0, 300)


@pytest.mark.parametrize("event", ["cancelled", "shipped"])
async def test_an_event_that_names_another_user_changes_no_credit(service: UsersService, event: str) -> None:
    owner, other = await service.create_account(), await service.create_account(email="other@orderly.example")
    order = Order(owner.id)
    await apply_all(service, order.created(), getattr(order.of(other.id), event)())

    assert (await service.credit(owner.id), await service.credit(other.id)) == ((600, 0), (0, 0))


async def test_the_next_refund_includes_a_missed_one(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id)

    await apply_all(service, order.created(), order.shipped(), order.refunded(100, refunded_cents=300))

    assert await service.credit(account.id) == (0, 300)


async def test_no_more_is_returned_than_was_used(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id)

    await apply_all(service, order.created(), order.shipped(), order.refunded(900, refunded_cents=900))

    assert await service.credit(account.id) == (0, 0)


async def test_an_event_of_an_order_without_credit_changes_nothing(service: UsersService) -> None:
    account = await service.create_account()
    cancelled, unknown = Order(account.id), Order(account.id)

    await apply_all(service, cancelled.cancelled(), cancelled.shipped(), cancelled.refunded(1, refunded_cents=1))
    await apply_all(service, unknown.shipped(), unknown.refunded(1, refunded_cents=1))

    assert await service.events() == []
    assert await service.credit(account.id) == (0, 0)


async def test_an_amount_out_of_range_fails_the_handler(service: UsersService) -> None:
    account = await service.create_account()
    for total_cents in (-1, 10**15 + 1, 2**70):
        with pytest.raises(HandlerFailed) as failed:
            await service.apply(Order(account.id, total_cents=total_cents).created())
        assert "amount_invalid" in str(failed.value.__cause__)
    assert await service.credit(account.id) == (0, 0)


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
        await apply_all(service, order.created(), *ends[number % 4])

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

    assert await status_of(service, order) == ("used", 600)
    assert await service.credit(owner.id) == (0, 600)
