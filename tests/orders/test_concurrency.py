"""Invariants under concurrency: never more reserved than there is, and reserved = what open orders hold."""

import asyncio
import random
from collections import Counter
from typing import Any

from services.orders.jobs import cancel_overdue_orders
from tests.orders.shop import Shop, credit_refused, credit_reserved, someone


async def test_of_fifty_orders_for_thirty_pieces_exactly_thirty_succeed(shop: Shop) -> None:
    await shop.stock_up("A", stock=30)

    answers = await asyncio.gather(*(shop.place(("A", 1), user_id=someone()) for _ in range(50)))

    assert Counter(answer.status_code for answer in answers) == {201: 30, 409: 20}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"out_of_stock"}
    assert await shop.stock("A") == (30, 30)
    assert await shop.unexplained_reservations() == []


async def test_the_same_products_in_opposite_order_do_not_lock_each_other_out(shop: Shop) -> None:
    skus = [f"P{number}" for number in range(8)]
    for sku in skus:
        await shop.stock_up(sku, stock=1000)
    forwards = [(sku, 1) for sku in skus]

    answers = await asyncio.gather(
        *(shop.place(*(forwards if number % 2 else reversed(forwards)), user_id=someone()) for number in range(40))
    )

    assert {answer.status_code for answer in answers} == {201}
    assert await shop.stock("P0") == (1000, 40)


async def test_slices_that_settle_many_orders_and_new_orders_do_not_lock_each_other_out(shop: Shop) -> None:
    """A refusal of an order for P7, then one of an order for P0, while new orders lock P0 to P7."""
    skus = [f"P{number}" for number in range(8)]
    for sku in skus:
        await shop.stock_up(sku, stock=10_000)
    backwards = [await shop.placed((sku, 1), user_id=someone()) for sku in reversed(skus) for _ in range(5)]
    slices = [[credit_refused(order) for order in backwards[start::4]] for start in range(4)]

    answers = await asyncio.gather(
        *(shop.receive(*events) for events in slices),
        *(shop.place(*((sku, 1) for sku in skus), user_id=someone()) for _ in range(30)),
    )

    assert {answer.status_code for answer in answers[4:] if answer is not None} == {201}
    assert await shop.stock("P3") == (10_000, 30)
    assert await shop.unexplained_reservations() == []


async def test_cancelling_and_confirming_at_once_end_in_one_of_the_two(shop: Shop) -> None:
    await shop.stock_up("A", stock=1000)
    orders = [await shop.placed(("A", 1), user_id=someone()) for _ in range(20)]

    async def race(order: dict[str, Any]) -> None:
        answer, _ = await asyncio.gather(
            shop.act(order, "cancel", as_=shop.support()), shop.receive(credit_reserved(order))
        )
        assert answer.status_code == 200

    await asyncio.gather(*(race(order) for order in orders))

    for order in orders:
        history = [entry["status"] for entry in (await shop.read(order))["timeline"]]
        assert history in (["pending", "cancelled"], ["pending", "confirmed", "cancelled"])
    assert await shop.stock("A") == (1000, 0)


async def test_two_cancellations_of_one_order_give_its_stock_back_once(shop: Shop) -> None:
    await shop.stock_up("A", stock=10)
    await shop.placed(("A", 5))
    order = await shop.placed(("A", 2))

    answers = await asyncio.gather(*(shop.act(order, "cancel", as_=shop.customer()) for _ in range(5)))

    assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 4}
    assert await shop.stock("A") == (10, 5)


async def test_one_key_sent_many_times_at_once_places_one_order(shop: Shop) -> None:
    await shop.stock_up("A", stock=100)

    answers = await asyncio.gather(*(shop.place(("A", 1), key="same") for _ in range(20)))

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"idempotency_key_in_use"}
    assert await shop.stock("A") == (100, 1)


async def test_whatever_happens_at_once_reserved_stock_is_what_open_orders_hold(shop: Shop) -> None:
    chance = random.Random(20_101_201)  # noqa: S311 - a seed, so that a failure can be run again
    skus = [f"P{number}" for number in range(5)]
    for sku in skus:
        await shop.stock_up(sku, stock=40)

    async def live() -> None:
        lines = [(sku, chance.randint(1, 4)) for sku in chance.sample(skus, k=chance.randint(1, 5))]
        answer = await shop.place(*lines, user_id=someone())
        if answer.status_code == 409:
            return
        order = answer.json()
        match chance.choice(["reserved", "refused", "cancelled", "overdue"]):
            case "reserved":
                await shop.receive(credit_reserved(order))
            case "refused":
                await shop.receive(credit_refused(order))
            case "cancelled":
                await shop.act(order, "cancel", as_=shop.support())
            case "overdue":
                await shop.make_overdue(order)
                await cancel_overdue_orders(shop.sessions)
        await shop.act(order, chance.choice(["ship", "cancel"]), as_=shop.support())

    for _ in range(2):
        await asyncio.gather(*(live() for _ in range(25)))

        assert await shop.unexplained_reservations() == []
