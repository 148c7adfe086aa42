"""A restored orders database repeats no order number, and gives pending orders time until their replies are read."""

import sqlalchemy as sa

from services.orders.jobs import cancel_overdue_orders
from shared.messaging.storage.generation import raise_generation
from tests.harness.rows import Rows
from tests.orders.service import OrdersService


async def recover(service: OrdersService) -> int:
    async with service.sessions.begin() as session:
        return await raise_generation(session, actor="me", note="restored")


async def test_no_order_number_is_given_twice(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    await service.place_order(("A", 1))
    generation = await recover(service)
    await service.place_order(("A", 1))
    (last,) = await Rows(service.sessions).of("SELECT last_value FROM order_number")
    assert last == (generation * 20 + 1,)


async def test_the_numbers_never_go_back(service: OrdersService) -> None:
    async with service.sessions.begin() as session:
        await session.execute(sa.text("SELECT nextval('order_number')"))
    await recover(service)
    (first,) = await Rows(service.sessions).of("SELECT last_value FROM order_number")
    await recover(service)
    (second,) = await Rows(service.sessions).of("SELECT last_value FROM order_number")
    assert second[0] > first[0]


async def test_a_pending_order_that_is_overdue_waits_for_its_reply(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    order = await service.place_order(("A", 1))
    await service.make_overdue(order)
    await recover(service)
    await cancel_overdue_orders(service.sessions)
    found = await service.read_order(order)
    assert found["status"] == "pending"
    assert found["deadline"] > order["deadline"]


async def test_an_order_that_is_being_decided_is_left_alone(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    order = await service.place_order(("A", 1))
    async with service.sessions.begin() as deciding:
        await deciding.execute(sa.text("SELECT FROM customer_order FOR UPDATE"))
        await recover(service)
    assert (await service.read_order(order))["deadline"] == order["deadline"]
