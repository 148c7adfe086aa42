"""A snapshot of an order makes its credit agree with its state, whatever was missed before."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from shared.events.orders import OrderSnapshot
from shared.messaging.consumer.batch import HandlerFailed
from tests.users.orders import Order
from tests.users.service import UsersService


def _snapshot(order: Order, status: Any, *, refunded_cents: int = 0) -> OrderSnapshot:
    now = datetime.now(UTC)
    return OrderSnapshot(
        **order.facts, status=status, placed_at=now, deadline=now, refunded_cents=refunded_cents, lines=()
    )


# What was applied before, the order's state, and the credit that follows: reserved and used.
CASES = [
    ([], "pending", 0, (600, 0)),
    ([], "confirmed", 0, (600, 0)),
    ([], "shipped", 0, (0, 600)),
    ([], "delivered", 250, (0, 350)),
    ([], "refunded", 600, (0, 0)),
    ([], "cancelled", 0, (0, 0)),
    ([Order.created], "confirmed", 0, (600, 0)),
    ([Order.created], "shipped", 100, (0, 500)),
    ([Order.created], "rejected", 0, (0, 0)),
    ([Order.created, Order.shipped], "confirmed", 0, (600, 0)),
    ([Order.created, Order.shipped], "cancelled", 0, (0, 0)),
    ([Order.created, Order.cancelled], "confirmed", 0, (600, 0)),
    ([Order.cancelled], "pending", 0, (600, 0)),
]


@pytest.mark.parametrize(("before", "status", "refunded", "expected"), CASES)
async def test_credit_agrees_with_the_order_after_its_snapshot(
    service: UsersService, before: Any, status: str, refunded: int, expected: tuple[int, int]
) -> None:
    account = await service.create_account(limit_cents=600)
    order = Order(account.id)
    await service.apply_all(*(step(order) for step in before))

    for sequence in (8, 9):
        await service.apply(_snapshot(order, status, refunded_cents=refunded), sequence=sequence)
        assert await service.credit(account.id) == expected


async def test_a_pending_order_gets_its_reply_again(service: UsersService) -> None:
    account = await service.create_account(limit_cents=600)
    order, other = Order(account.id), Order(account.id, total_cents=1)
    await service.apply(order.created())
    await service.apply(other.created())

    await service.apply(_snapshot(order, "pending"), sequence=2)
    await service.apply(_snapshot(other, "pending"), sequence=2)

    assert await service.events() == 2 * [
        ("user.credit_reserved", order.reply()),
        ("user.credit_refused", other.reply(reason="limit_exceeded")),
    ]
    assert await service.credit(account.id) == (600, 0)


async def test_a_pending_order_is_refused_if_its_released_credit_is_gone(service: UsersService) -> None:
    account = await service.create_account(limit_cents=600)
    order, other = Order(account.id), Order(account.id)
    await service.apply_all(order.created(), order.cancelled())
    await service.apply(other.created())

    await service.apply(_snapshot(order, "pending"), sequence=3)

    assert (await service.events())[-1] == ("user.credit_refused", order.reply(reason="limit_exceeded"))
    assert await service.credit(account.id) == (600, 0)


async def test_the_credit_of_an_ended_order_is_released_with_an_event(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id)
    await service.apply_all(order.created(), order.shipped(), order.refunded(200, refunded_cents=200))

    await service.apply(_snapshot(order, "cancelled"), sequence=4)

    assert (await service.events())[-1] == ("user.credit_released", order.reply(amount_cents=400))
    assert await service.reservation(order) == ("released", 600)


async def test_a_confirmed_order_above_the_limit_is_a_client_error(service: UsersService) -> None:
    account = await service.create_account(limit_cents=599)
    order = Order(account.id)

    with pytest.raises(HandlerFailed):
        await service.apply(_snapshot(order, "confirmed"))

    assert await service.credit(account.id) == (0, 0)


async def test_a_snapshot_that_names_another_user_changes_no_credit(service: UsersService) -> None:
    account = await service.create_account()
    order = Order(account.id)
    await service.apply(order.created())

    await service.apply(_snapshot(order.of(uuid4()), "cancelled"), sequence=2)

    assert await service.credit(account.id) == (600, 0)
