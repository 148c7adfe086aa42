"""Invariants under concurrency: no more stock is reserved than exists or than open orders hold."""

import asyncio
import random
from collections import Counter
from typing import Any
from uuid import uuid4

from services.orders.jobs import cancel_overdue_orders
from tests.orders.service import OrdersService, credit_refused, credit_reserved


async def test_fifty_simultaneous_orders_get_the_thirty_pieces_in_stock(service: OrdersService) -> None:
    await service.add_product("A", stock=30)

    responses = await asyncio.gather(*(service.post_order(("A", 1), user_id=uuid4()) for _ in range(50)))

    assert Counter(response.status_code for response in responses) == {201: 30, 409: 20}
    assert {response.json()["code"] for response in responses if response.status_code == 409} == {"out_of_stock"}
    assert await service.stock("A") == (30, 30)
    assert await service.inconsistent_reservations() == []


async def test_simultaneous_orders_do_not_exceed_the_limit_of_pending_orders(service: OrdersService) -> None:
    await service.add_product("A", stock=1000)
    await service.add_product("B", stock=1000)

    responses = await asyncio.gather(*(service.post_order(("AB"[number % 2], 1)) for number in range(40)))

    assert Counter(response.status_code for response in responses) == {201: 20, 429: 20}
    assert await service.inconsistent_reservations() == []


async def test_orders_of_products_in_opposite_order_do_not_deadlock(service: OrdersService) -> None:
    skus = [f"P{number}" for number in range(8)]
    for sku in skus:
        await service.add_product(sku, stock=1000)
    items = [(sku, 1) for sku in skus]

    responses = await asyncio.gather(
        *(service.post_order(*(items if number % 2 else reversed(items)), user_id=uuid4()) for number in range(40))
    )

    assert {response.status_code for response in responses} == {201}
    assert await service.stock("P0") == (1000, 40)


async def test_batches_that_reject_orders_do_not_deadlock_with_new_orders(service: OrdersService) -> None:
    """Batches reject orders for P7 down to P0, while new orders lock P0 to P7."""
    skus = [f"P{number}" for number in range(8)]
    for sku in skus:
        await service.add_product(sku, stock=10_000)
    rejected = [await service.place_order((sku, 1), user_id=uuid4()) for sku in reversed(skus) for _ in range(5)]
    batches = [[credit_refused(order) for order in rejected[start::4]] for start in range(4)]

    responses = await asyncio.gather(
        *(service.apply(*events) for events in batches),
        *(service.post_order(*((sku, 1) for sku in skus), user_id=uuid4()) for _ in range(30)),
    )

    assert {response.status_code for response in responses[4:] if response is not None} == {201}
    assert await service.stock("P3") == (10_000, 30)
    assert await service.inconsistent_reservations() == []


async def test_an_order_confirmed_and_cancelled_at_once_ends_cancelled(service: OrdersService) -> None:
    await service.add_product("A", stock=1000)
    orders = [await service.place_order(("A", 1), user_id=uuid4()) for _ in range(20)]

    async def race(order: dict[str, Any]) -> None:
        response, _ = await asyncio.gather(
            service.post_action(order, "cancel", as_=service.support()), service.apply(credit_reserved(order))
        )
        assert response.status_code == 200

    await asyncio.gather(*(race(order) for order in orders))

    for order in orders:
        history = [entry["status"] for entry in (await service.read_order(order))["timeline"]]
        assert history in (["pending", "cancelled"], ["pending", "confirmed", "cancelled"])
    assert await service.stock("A") == (1000, 0)


async def test_simultaneous_cancellations_release_the_stock_once(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    await service.place_order(("A", 5))
    order = await service.place_order(("A", 2))

    responses = await asyncio.gather(*(service.post_action(order, "cancel", as_=service.customer()) for _ in range(5)))

    assert Counter(response.status_code for response in responses) == {200: 1, 409: 4}
    assert await service.stock("A") == (10, 5)


async def test_simultaneous_requests_with_one_key_place_one_order(service: OrdersService) -> None:
    await service.add_product("A", stock=100)

    responses = await asyncio.gather(*(service.post_order(("A", 1), key="same") for _ in range(20)))

    assert {response.status_code for response in responses} <= {201, 409}
    assert len({response.json()["id"] for response in responses if response.status_code == 201}) == 1
    assert {response.json()["code"] for response in responses if response.status_code == 409} <= {
        "idempotency_key_in_use"
    }
    assert await service.stock("A") == (100, 1)


async def test_reserved_stock_matches_open_orders_after_random_changes(service: OrdersService) -> None:
    rng = random.Random(20_101_201)  # noqa: S311 - seeded, so that a failure can be reproduced
    skus = [f"P{number}" for number in range(5)]
    for sku in skus:
        await service.add_product(sku, stock=40)

    async def process() -> None:
        lines = [(sku, rng.randint(1, 4)) for sku in rng.sample(skus, k=rng.randint(1, 5))]
        response = await service.post_order(*lines, user_id=uuid4())
        if response.status_code == 409:
            return
        order = response.json()
        match rng.choice(["reserved", "refused", "cancelled", "overdue"]):
            case "reserved":
                await service.apply(credit_reserved(order))
            case "refused":
                await service.apply(credit_refused(order))
            case "cancelled":
                await service.post_action(order, "cancel", as_=service.support())
            case "overdue":
                await service.make_overdue(order)
                await cancel_overdue_orders(service.sessions)
        await service.post_action(order, rng.choice(["ship", "cancel"]), as_=service.support())

    for _ in range(2):
        await asyncio.gather(*(process() for _ in range(25)))

        assert await service.inconsistent_reservations() == []
