"""An overdue order that cannot be cancelled does not hold up the others, and is tried again."""

import sqlalchemy as sa
from structlog.testing import capture_logs

from services.orders.jobs import BATCH_SIZE, cancel_overdue_orders, purge_settled_overdue_orders
from tests.harness.rows import Rows
from tests.orders.service import OrdersService

FAILURES = "SELECT order_id::text, failures, error FROM overdue_order"


async def set_reserved(service: OrdersService, sku: str, reserved: int) -> None:
    """Change a product as by hand: what is reserved is no longer the sum of its orders."""
    async with service.sessions.begin() as session:
        await session.execute(
            sa.text("UPDATE product SET reserved = :reserved WHERE sku = :sku"), {"sku": sku, "reserved": reserved}
        )


async def make_retries_due(service: OrdersService) -> None:
    async with service.sessions.begin() as session:
        await session.execute(sa.text("UPDATE overdue_order SET next_try_at = now()"))


async def test_an_order_that_cannot_be_cancelled_does_not_hold_up_the_others(service: OrdersService) -> None:
    await service.add_product("BROKEN", stock=10)
    await service.add_product("A", stock=1000)
    broken = [await service.place_order(("BROKEN", 2)) for _ in range(2)]
    others = [await service.place_order(("A", 1)) for _ in range(5)]
    await set_reserved(service, "BROKEN", 0)
    # The broken ones come first.
    await service.make_overdue(*broken)
    await service.make_overdue(*others)

    with capture_logs() as logs:
        await cancel_overdue_orders(service.sessions)

    assert {(await service.read_order(order))["status"] for order in others} == {"cancelled"}
    assert {(await service.read_order(order))["status"] for order in broken} == {"pending"}
    assert await service.stock("A") == (1000, 0)
    error = "CheckViolationError: SQLSTATE 23514, constraint ck_product_reserved_within_stock, table product"
    assert sorted(await Rows(service.sessions).of(FAILURES)) == sorted((order["id"], 1, error) for order in broken)
    failed = [(line["order_id"], line["error"]) for line in logs if line["event"] == "order_cancellation_failed"]
    assert sorted(failed) == sorted((order["id"], error) for order in broken)
    cancelled = [data["order_id"] for type_, data in await service.events("orders") if type_ == "order.cancelled"]
    assert sorted(cancelled) == sorted(order["id"] for order in others)


async def test_more_orders_than_a_batch_that_cannot_be_cancelled_do_not_block_the_queue(
    service: OrdersService,
) -> None:
    await service.add_product("BROKEN", stock=1000)
    await service.add_product("A", stock=10)
    broken, other = await service.place_order(("BROKEN", 1)), await service.place_order(("A", 1))
    await service.copy_order(broken, times=BATCH_SIZE + 1)
    await set_reserved(service, "BROKEN", 0)
    await service.make_overdue(broken)
    await service.make_overdue(other)

    await cancel_overdue_orders(service.sessions)

    assert (await service.read_order(other))["status"] == "cancelled"
    assert len(await Rows(service.sessions).of(FAILURES)) == BATCH_SIZE + 2


async def test_an_order_is_cancelled_once_its_data_are_corrected(service: OrdersService) -> None:
    await service.add_product("BROKEN", stock=10)
    order = await service.place_order(("BROKEN", 2))
    await set_reserved(service, "BROKEN", 0)
    await service.make_overdue(order)
    await cancel_overdue_orders(service.sessions)
    await cancel_overdue_orders(service.sessions)
    delay = "SELECT failures, extract(epoch FROM next_try_at - now()) FROM overdue_order"
    [(failures, seconds)] = await Rows(service.sessions).of(delay)
    # It is not tried again before it is due, and later each time.
    assert (failures, 30 < seconds <= 60) == (1, True)
    await make_retries_due(service)
    await cancel_overdue_orders(service.sessions)
    [(failures, seconds)] = await Rows(service.sessions).of(delay)
    assert (failures, 60 < seconds <= 120) == (2, True)

    await set_reserved(service, "BROKEN", 2)
    await make_retries_due(service)
    await cancel_overdue_orders(service.sessions)

    assert (await service.read_order(order))["status"] == "cancelled"
    assert await service.stock("BROKEN") == (10, 0)
    await purge_settled_overdue_orders(service.sessions)
    assert await Rows(service.sessions).of(FAILURES) == []
