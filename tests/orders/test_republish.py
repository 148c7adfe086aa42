"""Republication of products and orders."""

from datetime import UTC, datetime

import orjson

from services.orders.jobs import REPUBLISHED
from shared.events.orders import OrderSnapshot
from shared.operations.sending import Sending
from tests.orders.service import CUSTOMER, OrdersService


async def republish(service: OrdersService, *types: str, since: datetime | None = None) -> None:
    sending = Sending(REPUBLISHED)
    async with service.sessions.begin() as session:
        operation = await sending.begin_republication(session, types=types, since=since, actor="operator")
    ended = await sending.run(service.sessions, operation.id)
    assert ended is not None
    assert (ended.status, ended.done) == ("done", ended.total)


async def test_products_are_republished_with_their_present_state(service: OrdersService) -> None:
    for sku in ("B", "A", "C"):
        await service.add_product(sku)
    await service.http.patch("/v1/products/B", json={"price_cents": 300}, headers=service.admin(if_match='"1"'))
    recorded_before = len(await service.events("products"))

    await republish(service, "products", since=datetime.now(UTC))  # ignored: products have no time of change

    republished = (await service.events("products"))[recorded_before:]
    assert [(type_, data["sku"], data["price_cents"]) for type_, data in republished] == [
        ("product.updated", "A", 250),
        ("product.updated", "B", 300),
        ("product.updated", "C", 250),
    ]


async def test_orders_are_republished_as_snapshots_and_do_not_change(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    await service.add_product("B", stock=10)
    shipped = await service.place_confirmed_order(("A", 2), ("B", 1))
    await service.post_action(shipped, "ship", as_=service.support())
    pending = await service.place_order(("B", 1))
    before = [await service.read_order(order) for order in (shipped, pending)]
    recorded_before = len(await service.events("orders"))

    await republish(service)

    republished = (await service.events("orders"))[recorded_before:]
    assert [(type_, data["order_id"], data["status"]) for type_, data in republished] == [
        ("order.snapshot", shipped["id"], "shipped"),
        ("order.snapshot", pending["id"], "pending"),
    ]
    snapshot = OrderSnapshot.model_validate_json(orjson.dumps(republished[0][1]))
    assert [(line.sku, line.quantity, line.unit_price_cents) for line in snapshot.lines] == [
        ("A", 2, 250),
        ("B", 1, 250),
    ]
    assert (snapshot.user_id, snapshot.total_cents, snapshot.refunded_cents) == (CUSTOMER, 750, 0)
    assert snapshot.placed_at == datetime.fromisoformat(before[0]["created_at"])
    assert [await service.read_order(order) for order in (shipped, pending)] == before


async def test_since_leaves_out_unchanged_orders(service: OrdersService) -> None:
    await service.add_product("A")
    old, changed = await service.place_order(("A", 1)), await service.place_order(("A", 1))
    since = datetime.now(UTC)
    await service.post_action(changed, "cancel", as_=service.customer())
    await republish(service, "orders", since=since)
    republished = [data["order_id"] for type_, data in await service.events("orders") if type_ == "order.snapshot"]
    assert republished == [changed["id"]]
    assert old["id"] not in republished
