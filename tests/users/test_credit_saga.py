"""The effects of an order's events on the user's credit."""

from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from shared.ids import new_id
from shared.messaging.consumer.batch import HandlerFailed
from tests.users.orders import Order
from tests.users.service import UsersService


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
    await service.apply_all(cancelled.created(), cancelled.cancelled(), cancelled.cancelled())

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

    await service.apply_all(order.created(), end(order))

    assert (await service.events())[1:] == [("user.credit_released", order.reply())]
    assert await service.credit(account.id) == (0, 0)
    assert await service.reservation(order) == ("released", 600)


async def test_the_rejection_of_an_order_without_credit_changes_nothing(service: UsersService) -> None:
    account = await service.create_account(limit_cents=1)
    order = Order(account.id)

    await service.apply_all(order.created(), order.rejected())

    assert [type_ for type_, _ in await service.events()] == ["user.credit_refused"]
    assert await service.reservation(order) == ("refused", 600)


async def test_an_order_whose_cancellation_arrives_first_gets_no_credit(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id)

    await service.apply_all(order.cancelled(), order.created())

    assert await service.events() == []
    assert await service.credit(account.id) == (0, 0)
    assert await service.reservation(order) == ("released", 0)


async def test_a_shipped_order_uses_its_credit_and_refunds_return_it(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id)
    await service.apply_all(order.created(), order.shipped())
    assert await service.credit(account.id) == (0, 600)

    await service.apply(order.refunded(200, refunded_cents=200), sequence=3)
    assert await service.credit(account.id) == (0, 400)

    await service.apply(order.refunded(400, refunded_cents=600), sequence=4)
    assert await service.credit(account.id) == (0, 0)


async def test_a_refund_that_arrives_after_a_later_one_changes_nothing(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id)

    refunds = [order.refunded(100, refunded_cents=300), order.refunded(200, refunded_cents=200)]
    await service.apply_all(order.created(), order.shipped(), *refunds)

    assert await service.credit(account.id) == (0, 300)


@pytest.mark.parametrize("event", ["cancelled", "shipped"])
async def test_an_event_that_names_another_user_changes_no_credit(service: UsersService, event: str) -> None:
    owner, other = await service.create_account(), await service.create_account(email="other@orderly.example")
    order = Order(owner.id)
    await service.apply_all(order.created(), getattr(order.of(other.id), event)())

    assert (await service.credit(owner.id), await service.credit(other.id)) == ((600, 0), (0, 0))


async def test_the_next_refund_includes_a_missed_one(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id)

    await service.apply_all(order.created(), order.shipped(), order.refunded(100, refunded_cents=300))

    assert await service.credit(account.id) == (0, 300)


async def test_no_more_is_returned_than_was_used(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id)

    await service.apply_all(order.created(), order.shipped(), order.refunded(900, refunded_cents=900))

    assert await service.credit(account.id) == (0, 0)


async def test_an_event_of_an_order_without_credit_changes_nothing(service: UsersService) -> None:
    account = await service.create_account()
    cancelled, unknown = Order(account.id), Order(account.id)

    await service.apply_all(cancelled.cancelled(), cancelled.shipped(), cancelled.refunded(1, refunded_cents=1))
    await service.apply_all(unknown.shipped(), unknown.refunded(1, refunded_cents=1))

    assert await service.events() == []
    assert await service.credit(account.id) == (0, 0)


async def test_an_amount_out_of_range_fails_the_handler(service: UsersService) -> None:
    account = await service.create_account()
    for total_cents in (-1, 10**15 + 1, 2**70):
        with pytest.raises(HandlerFailed) as failed:
            await service.apply(Order(account.id, total_cents=total_cents).created())
        assert "amount_invalid" in str(failed.value.__cause__)
    assert await service.credit(account.id) == (0, 0)
