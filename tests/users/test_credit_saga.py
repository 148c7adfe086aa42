"""The credit side of an order: what each of its events does to the user's account."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa

from services.users import credit_commands
from services.users.models import CreditReservation
from shared.events.contract import Event
from shared.events.orders import OrderCancelled, OrderCreated, OrderRefunded, OrderRejected, OrderShipped
from shared.ids import new_id
from shared.messaging.consumer.batch import HandlerFailed
from tests.users.front_door import FrontDoor


class Order:
    """Builds one order's events, in the order in which a test asks for them."""

    def __init__(self, user_id: UUID, *, total_cents: int = 600, currency: str = "GBP") -> None:
        self.id = new_id()
        self.facts: dict[str, Any] = {
            "order_id": self.id,
            "number": "O-1",
            "user_id": user_id,
            "total_cents": total_cents,
            "currency": currency,
        }

    def created(self) -> Event:
        return OrderCreated(**self.facts, deadline=datetime.now(UTC))

    def cancelled(self) -> Event:
        return OrderCancelled(**self.facts, reason="customer")

    def rejected(self) -> Event:
        return OrderRejected(**self.facts, reason="out_of_stock")

    def shipped(self) -> Event:
        return OrderShipped(**self.facts)

    def refunded(self, amount_cents: int, *, refunded_cents: int) -> Event:
        return OrderRefunded(**self.facts, amount_cents=amount_cents, refunded_cents=refunded_cents)

    def answer(self, **changes: Any) -> dict[str, Any]:
        """The data of the event that answers."""
        return {
            "user_id": str(self.facts["user_id"]),
            "order_id": str(self.id),
            "amount_cents": self.facts["total_cents"],
            "currency": self.facts["currency"],
        } | changes


async def apply_all(users: FrontDoor, *events: Event) -> None:
    for sequence, event in enumerate(events, start=1):
        await users.apply(event, sequence=sequence)


async def status_of(users: FrontDoor, order: Order) -> tuple[str, int]:
    async with users.sessions() as session:
        reservation = await session.get_one(CreditReservation, order.id)
        return reservation.status, reservation.amount_cents


async def test_an_order_within_the_limit_gets_its_credit(users: FrontDoor) -> None:
    account = await users.account(limit_cents=600)
    order = Order(account.id)

    await users.apply(order.created())

    assert await users.events() == [("user.credit_reserved", order.answer())]
    assert await users.credit(account.id) == (600, 0)


async def test_an_order_above_what_is_left_is_refused(users: FrontDoor) -> None:
    account = await users.account(limit_cents=1_000)
    first, second = Order(account.id), Order(account.id)
    await users.apply(first.created())

    await users.apply(second.created())

    assert (await users.events())[1:] == [("user.credit_refused", second.answer(reason="limit_exceeded"))]
    assert await users.credit(account.id) == (600, 0)


async def test_an_order_in_another_currency_is_refused(users: FrontDoor) -> None:
    account = await users.account()
    order = Order(account.id, currency="EUR")

    await users.apply(order.created())

    assert await users.events() == [("user.credit_refused", order.answer(reason="currency_mismatch"))]
    assert await users.credit(account.id) == (0, 0)


async def test_an_order_of_somebody_unknown_is_refused_once(users: FrontDoor) -> None:
    order = Order(uuid4())

    await users.apply(order.created())
    await users.apply(order.created(), sequence=2)

    assert await users.events() == [("user.credit_refused", order.answer(reason="user_unknown"))]


async def test_an_order_of_an_inactive_user_is_refused(users: FrontDoor) -> None:
    account = await users.account()
    async with users.sessions.begin() as session:
        await session.execute(sa.text("UPDATE user_account SET status = 'suspended'"))
    order = Order(account.id)

    await users.apply(order.created())

    assert await users.events() == [("user.credit_refused", order.answer(reason="user_inactive"))]
    assert await users.credit(account.id) == (0, 0)


async def test_a_repeated_event_changes_nothing(users: FrontDoor) -> None:
    account = await users.account()
    order = Order(account.id)
    event_id = new_id()
    await users.apply(order.created(), event_id=event_id)

    result = await users.apply(order.created(), event_id=event_id)

    assert result.duplicates == 1
    assert len(await users.events()) == 1
    assert await users.credit(account.id) == (600, 0)


async def test_every_step_told_twice_under_new_ids_counts_once(users: FrontDoor) -> None:
    account = await users.account()
    order, cancelled = Order(account.id), Order(account.id, total_cents=50)
    refunds = [order.refunded(200, refunded_cents=200), order.refunded(150, refunded_cents=350)]
    steps = [order.created(), order.shipped(), *refunds]

    for sequence, event in enumerate(step for step in steps for _ in range(2)):
        await users.apply(event, sequence=sequence + 1)
    await apply_all(users, cancelled.created(), cancelled.cancelled(), cancelled.cancelled())

    assert await users.credit(account.id) == (0, 250)
    assert [type_ for type_, _ in await users.events()] == [
        "user.credit_reserved",
        "user.credit_reserved",
        "user.credit_released",
    ]


@pytest.mark.parametrize("end", [Order.cancelled, Order.rejected])
async def test_an_order_called_off_gives_its_credit_back(users: FrontDoor, end: Any) -> None:
    account = await users.account()
    order = Order(account.id)

    await apply_all(users, order.created(), end(order))

    assert (await users.events())[1:] == [("user.credit_released", order.answer())]
    assert await users.credit(account.id) == (0, 0)
    assert await status_of(users, order) == ("released", 600)


async def test_the_echo_of_our_own_refusal_changes_nothing(users: FrontDoor) -> None:
    account = await users.account(limit_cents=1)
    order = Order(account.id)

    await apply_all(users, order.created(), order.rejected())

    assert [type_ for type_, _ in await users.events()] == ["user.credit_refused"]
    assert await status_of(users, order) == ("refused", 600)


async def test_an_order_cancelled_before_we_heard_of_it_never_gets_credit(users: FrontDoor) -> None:
    account = await users.account()
    order = Order(account.id)

    await apply_all(users, order.cancelled(), order.created())

    assert await users.events() == []
    assert await users.credit(account.id) == (0, 0)
    assert await status_of(users, order) == ("released", 0)


async def test_a_shipped_order_uses_its_credit_and_refunds_give_it_back(users: FrontDoor) -> None:
    account = await users.account()
    order = Order(account.id)
    await apply_all(users, order.created(), order.shipped())
    assert await users.credit(account.id) == (0, 600)

    await users.apply(order.refunded(200, refunded_cents=200), sequence=3)
    assert await users.credit(account.id) == (0, 400)

    await users.apply(order.refunded(400, refunded_cents=600), sequence=4)
    assert await users.credit(account.id) == (0, 0)


async def test_a_refund_that_is_told_after_a_later_one_takes_nothing_back(users: FrontDoor) -> None:
    account = await users.account()
    order = Order(account.id)

    refunds = [order.refunded(100, refunded_cents=300), order.refunded(200, refunded_cents=200)]
    await apply_all(users, order.created(), order.shipped(), *refunds)

    assert await users.credit(account.id) == (0, 300)


@pytest.mark.parametrize("event", ["cancelled", "shipped"])
async def test_an_event_that_names_another_user_changes_nobodys_credit(users: FrontDoor, event: str) -> None:
    owner, other = await users.account(), await users.account(email="other@orderly.example")
    order, foreign = Order(owner.id), Order(other.id)
    foreign.facts["order_id"] = order.id
    await apply_all(users, order.created(), getattr(foreign, event)())

    assert (await users.credit(owner.id), await users.credit(other.id)) == ((600, 0), (0, 0))


async def test_a_refund_that_was_missed_is_made_up_by_the_next(users: FrontDoor) -> None:
    account = await users.account()
    order = Order(account.id)

    await apply_all(users, order.created(), order.shipped(), order.refunded(100, refunded_cents=300))

    assert await users.credit(account.id) == (0, 300)


async def test_more_is_never_given_back_than_was_used(users: FrontDoor) -> None:
    account = await users.account()
    order = Order(account.id)

    await apply_all(users, order.created(), order.shipped(), order.refunded(900, refunded_cents=900))

    assert await users.credit(account.id) == (0, 0)


async def test_a_step_of_an_order_without_credit_changes_nothing(users: FrontDoor) -> None:
    account = await users.account()
    cancelled, unheard_of = Order(account.id), Order(account.id)

    await apply_all(users, cancelled.cancelled(), cancelled.shipped(), cancelled.refunded(1, refunded_cents=1))
    await apply_all(users, unheard_of.shipped(), unheard_of.refunded(1, refunded_cents=1))

    assert await users.events() == []
    assert await users.credit(account.id) == (0, 0)


async def test_a_total_that_is_none_is_poison(users: FrontDoor) -> None:
    account = await users.account()
    for total_cents in (-1, 10**15 + 1, 2**70):
        with pytest.raises(HandlerFailed) as failed:
            await users.apply(Order(account.id, total_cents=total_cents).created())
        assert "amount_invalid" in str(failed.value.__cause__)
    assert await users.credit(account.id) == (0, 0)


async def test_orders_at_once_never_reserve_more_than_the_limit(users: FrontDoor) -> None:
    account = await users.account(limit_cents=1_000)
    orders = [Order(account.id, total_cents=100) for _ in range(30)]

    await asyncio.gather(*(users.apply(order.created()) for order in orders))

    assert await users.credit(account.id) == (1_000, 0)
    types = [type_ for type_, _ in await users.events()]
    assert (types.count("user.credit_reserved"), types.count("user.credit_refused")) == (10, 20)


async def test_lives_of_many_orders_at_once_leave_the_sums_right(users: FrontDoor) -> None:
    account = await users.account(limit_cents=1_500)

    async def life(number: int) -> None:
        order = Order(account.id, total_cents=100 + number)
        ends: tuple[list[Event], ...] = (
            [],
            [order.cancelled()],
            [order.shipped()],
            [order.shipped(), order.refunded(50, refunded_cents=50)],
        )
        await apply_all(users, order.created(), *ends[number % 4])

    await asyncio.gather(*(life(number) for number in range(32)))

    reserved, used = await users.credit(account.id)
    assert reserved > 0
    assert used > 0


async def test_one_order_answered_at_once_many_times_is_answered_once(users: FrontDoor) -> None:
    account = await users.account()
    order_id = new_id()

    async def reserve() -> None:
        async with users.sessions.begin() as session:
            await credit_commands.reserve_credit(
                session, order_id=order_id, user_id=account.id, amount_cents=100, currency="GBP"
            )

    await asyncio.gather(*(reserve() for _ in range(8)))

    assert await users.credit(account.id) == (100, 0)
    assert len(await users.events()) == 1
