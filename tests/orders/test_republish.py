"""The catalogue and the orders as they are now, for readers who know nothing of them yet."""

from datetime import UTC, datetime

import orjson

from services.orders.jobs import REPUBLISHED
from shared.events.orders import OrderSnapshot
from shared.operations.sending import Sending
from tests.orders.shop import CUSTOMER, Shop


async def republish(shop: Shop, *types: str, since: datetime | None = None) -> None:
    sending = Sending(REPUBLISHED)
    async with shop.sessions.begin() as session:
        operation = await sending.begin_republication(session, types=types, since=since, actor="operator")
    ended = await sending.run(shop.sessions, operation.id)
    assert ended is not None
    assert (ended.status, ended.done) == ("done", ended.total)


async def test_products_are_told_of_as_they_are_now(shop: Shop) -> None:
    for sku in ("B", "A", "C"):
        await shop.stock_up(sku)
    await shop.client.patch("/v1/products/B", json={"price_cents": 300}, headers=shop.admin(if_match='"1"'))
    told_before = len(await shop.events("products"))

    await republish(shop, "products", since=datetime.now(UTC))  # no product keeps the time of its change

    told = (await shop.events("products"))[told_before:]
    assert [(type_, data["sku"], data["price_cents"]) for type_, data in told] == [
        ("product.updated", "A", 250),
        ("product.updated", "B", 300),
        ("product.updated", "C", 250),
    ]


async def test_orders_are_told_of_whole_and_nothing_happens_to_them(shop: Shop) -> None:
    await shop.stock_up("A", stock=10)
    await shop.stock_up("B", stock=10)
    shipped = await shop.confirmed(("A", 2), ("B", 1))
    await shop.act(shipped, "ship", as_=shop.support())
    pending = await shop.placed(("B", 1))
    before = [await shop.read(order) for order in (shipped, pending)]
    told_before = len(await shop.events("orders"))

    await republish(shop)

    told = (await shop.events("orders"))[told_before:]
    assert [(type_, data["order_id"], data["status"]) for type_, data in told] == [
        ("order.snapshot", shipped["id"], "shipped"),
        ("order.snapshot", pending["id"], "pending"),
    ]
    snapshot_of = OrderSnapshot.model_validate_json(orjson.dumps(told[0][1]))
    assert [(line.sku, line.quantity, line.unit_price_cents) for line in snapshot_of.lines] == [
        ("A", 2, 250),
        ("B", 1, 250),
    ]
    assert (snapshot_of.user_id, snapshot_of.total_cents, snapshot_of.refunded_cents) == (CUSTOMER, 750, 0)
    assert snapshot_of.placed_at == datetime.fromisoformat(before[0]["created_at"])
    assert [await shop.read(order) for order in (shipped, pending)] == before


async def test_since_leaves_out_the_orders_that_have_not_changed(shop: Shop) -> None:
    await shop.stock_up("A")
    old, changed = await shop.placed(("A", 1)), await shop.placed(("A", 1))
    since = datetime.now(UTC)
    await shop.act(changed, "cancel", as_=shop.customer())
    await republish(shop, "orders", since=since)
    told = [data["order_id"] for type_, data in await shop.events("orders") if type_ == "order.snapshot"]
    assert told == [changed["id"]]
    assert old["id"] not in told
