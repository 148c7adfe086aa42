"""Operators recompute a product's reserved units, cancel an overdue order now, and republish one order."""

from uuid import uuid4

from services.orders.jobs import cancel_overdue_orders
from tests.harness.databases import execute_as_owner
from tests.harness.tool import Tool
from tests.orders.service import OrdersService, credit_reserved
from tests.orders.test_overdue_orders import set_reserved

NOTE = ("--note", "after a restore")


async def test_reserved_units_are_recomputed_from_the_open_orders(service: OrdersService, tool: Tool) -> None:
    await service.add_product("A", stock=10)
    await service.place_order(("A", 1))
    shipped = await service.place_confirmed_order(("A", 4))
    await service.place_confirmed_order(("A", 2))
    await service.post_action(shipped, "ship", as_=service.support())
    await set_reserved(service, "A", 6)

    status, done = await tool.json("stock", "recompute", "A", *NOTE)

    assert (status, done) == (0, {"sku": "A", "before": [6, 6], "after": [3, 6]})
    assert await service.stock("A") == (6, 3)
    assert await tool.json("stock", "recompute", "A", *NOTE) == (0, done | {"before": [3, 6]})


async def test_stock_is_raised_only_if_that_is_wanted(service: OrdersService, tool: Tool) -> None:
    await service.add_product("A", stock=5)
    await service.place_order(("A", 5))
    await execute_as_owner(service.sessions, "UPDATE product SET reserved = 0, stock = 2")

    refused, _, error = await tool("stock", "recompute", "A", *NOTE)
    status, done = await tool.json("stock", "recompute", "A", "--raise-stock", *NOTE)

    assert refused == 2
    assert "--raise-stock" in error
    assert (status, done["after"]) == (0, [5, 5])


async def test_an_overdue_order_is_cancelled_before_its_next_try(service: OrdersService, tool: Tool) -> None:
    await service.add_product("A", stock=5)
    order = await service.place_order(("A", 2))
    await set_reserved(service, "A", 0)
    await service.make_overdue(order)
    await cancel_overdue_orders(service.sessions)

    contradicted = await tool("cancel-overdue", order["id"], *NOTE)
    await tool("stock", "recompute", "A", *NOTE)
    cancelled = await tool("cancel-overdue", order["id"], *NOTE)
    again = await tool("cancel-overdue", order["id"], *NOTE)

    assert contradicted[0] == 2
    assert "recompute the stock of its products first" in contradicted[2]
    assert (cancelled[:2], again[:2]) == ((0, "cancelled\n"), (0, "the order is no longer pending\n"))
    assert (await service.read_order(order))["status"] == "cancelled"
    assert (await service.events("orders"))[-1][0] == "order.cancelled"
    assert await service.stock("A") == (5, 0)


async def test_an_order_before_its_deadline_is_not_cancelled(service: OrdersService, tool: Tool) -> None:
    await service.add_product("A", stock=5)
    order = await service.place_order(("A", 2))

    assert (await tool("cancel-overdue", order["id"], *NOTE))[0] == 2
    assert (await tool("cancel-overdue", str(uuid4()), *NOTE))[0] == 2
    assert (await service.read_order(order))["status"] == "pending"


async def test_an_operator_cancels_an_order_that_was_not_shipped(service: OrdersService, tool: Tool) -> None:
    await service.add_product("A", stock=5)
    order = await service.place_order(("A", 2))
    await service.apply(credit_reserved(order))

    cancelled = await tool("cancel", order["id"], *NOTE)
    again = await tool("cancel", order["id"], *NOTE)

    assert (cancelled[:2], again[0]) == ((0, "cancelled\n"), 2)
    assert (await tool("cancel", str(uuid4()), *NOTE))[0] == 2
    found = await service.read_order(order)
    assert (found["status"], found["timeline"][-1]["actor"], found["timeline"][-1]["reason"]) == (
        "cancelled",
        "system",
        "support",
    )
    assert (await service.events("orders"))[-1][0] == "order.cancelled"
    assert await service.stock("A") == (5, 0)


async def test_one_order_is_republished_by_its_key(service: OrdersService, tool: Tool) -> None:
    await service.add_product("A", stock=5)
    order, _ = await service.place_order(("A", 1)), await service.place_order(("A", 1))

    status, operation = await tool.json("republish", "--type", "orders", "--key", order["id"])

    assert (status, operation["done"], operation["total"]) == (0, 1, 1)
    snapshots = [data["order_id"] for type_, data in await service.events("orders") if type_ == "order.snapshot"]
    assert snapshots == [order["id"]]


async def test_a_key_needs_its_type_and_its_form(service: OrdersService, tool: Tool) -> None:
    await service.add_product("A")
    assert (await tool("republish", "--key", "A"))[0] == 2
    assert (await tool("republish", "--type", "orders", "--key", "no-uuid"))[0] == 2
