"""Cancel, ship, deliver, refund: what each does, and every state in which it is refused."""

from services.orders.models import ALLOWED_TRANSITIONS, OrderStatus
from tests.orders.shop import CUSTOMER, SUPPORT, Shop, code_of, credit_refused, credit_reserved, someone

ACTIONS = {
    "cancel": OrderStatus.CANCELLED,
    "ship": OrderStatus.SHIPPED,
    "deliver": OrderStatus.DELIVERED,
    "refunds": OrderStatus.REFUNDED,
}


async def test_a_cancelled_order_gives_its_stock_back(shop: Shop) -> None:
    await shop.stock_up("A", stock=10)
    order = await shop.confirmed(("A", 4))

    answer = await shop.act(order, "cancel", as_=shop.customer())

    assert (answer.status_code, answer.json()["status"], answer.headers["etag"]) == (200, "cancelled", '"3"')
    assert await shop.stock("A") == (10, 0)
    type_, data = (await shop.events("orders"))[-1]
    assert (type_, data["order_id"], data["reason"]) == ("order.cancelled", order["id"], "customer")


async def test_support_cancels_in_its_own_name(shop: Shop) -> None:
    await shop.stock_up("A")
    order = await shop.placed(("A", 4))

    answer = await shop.act(order, "cancel", as_=shop.support())

    assert (await shop.events("orders"))[-1][1]["reason"] == "support"
    last = answer.json()["timeline"][-1]
    assert (last["status"], last["actor"], last["actor_id"]) == ("cancelled", "support", str(SUPPORT))


async def test_an_order_goes_its_whole_way(shop: Shop) -> None:
    await shop.stock_up("A", stock=10, price_cents=250)
    order = await shop.confirmed(("A", 4))

    shipped = await shop.act(order, "ship", as_=shop.support())
    delivered = await shop.act(order, "deliver", as_=shop.support())

    assert (shipped.json()["status"], delivered.json()["status"]) == ("shipped", "delivered")
    assert await shop.stock("A") == (6, 0)
    assert [(entry["status"], entry["actor"]) for entry in delivered.json()["timeline"]] == [
        ("pending", "customer"),
        ("confirmed", "system"),
        ("shipped", "support"),
        ("delivered", "support"),
    ]
    types = [type_ for type_, _ in await shop.events("orders")]
    assert types == ["order.created", "order.confirmed", "order.shipped", "order.delivered"]
    assert (await shop.events("orders"))[1][1]["lines"] == [
        {"sku": "A", "name": "Product A", "quantity": 4, "unit_price_cents": 250}
    ]


async def test_refunds_add_up_to_the_total_and_no_further(shop: Shop) -> None:
    await shop.stock_up("A", price_cents=250)
    order = await shop.confirmed(("A", 4))
    await shop.act(order, "ship", as_=shop.support())
    path = f"/v1/orders/{order['id']}/refunds"

    part = await shop.client.post(path, json={"amount_cents": 300, "reason": "A scratch."}, headers=shop.support())
    above = await shop.client.post(path, json={"amount_cents": 701}, headers=shop.support())
    rest = await shop.client.post(path, json={"amount_cents": 700}, headers=shop.support())
    after = await shop.client.post(path, json={"amount_cents": 1}, headers=shop.support())

    assert part.status_code == 201
    assert part.headers["location"] == f"/v1/orders/{order['id']}"
    assert (part.json()["status"], part.json()["refunded_cents"]) == ("shipped", 300)
    assert code_of(above) == (409, "refund_exceeds_total")
    assert above.json()["refundable_cents"] == 700
    assert (rest.json()["status"], rest.json()["refunded_cents"]) == ("refunded", 1000)
    assert code_of(after) == (409, "transition_not_allowed")
    refunds = [data for type_, data in await shop.events("orders") if type_ == "order.refunded"]
    assert [(data["amount_cents"], data["refunded_cents"]) for data in refunds] == [(300, 300), (700, 1000)]
    entry = part.json()["timeline"][-1]
    assert (entry["status"], entry["reason"], entry["amount_cents"]) == ("shipped", "A scratch.", 300)


async def test_a_repeated_refund_with_the_same_key_pays_once(shop: Shop) -> None:
    await shop.stock_up("A", price_cents=250)
    order = await shop.confirmed(("A", 4))
    await shop.act(order, "ship", as_=shop.support())
    headers = shop.support(key="scratch")

    for _ in range(2):
        answer = await shop.client.post(
            f"/v1/orders/{order['id']}/refunds", json={"amount_cents": 300}, headers=headers
        )
        assert answer.status_code == 201

    assert (await shop.read(order))["refunded_cents"] == 300


async def test_what_the_table_does_not_allow_is_refused_and_changes_nothing(shop: Shop) -> None:
    await shop.stock_up("A", stock=10)
    for status in OrderStatus:
        order = await _order_that_is(status, shop)
        before = (await shop.read(order), await shop.stock("A"), await shop.events("orders"))

        for action, after in ACTIONS.items():
            if after in ALLOWED_TRANSITIONS[status]:
                continue
            answer = await shop.client.post(
                f"/v1/orders/{order['id']}/{action}",
                json={"amount_cents": 1} if action == "refunds" else None,
                headers=shop.support(),
            )
            assert code_of(answer) == (409, "transition_not_allowed")
            assert (answer.json()["from"], answer.json()["to"]) == (status, after)

        assert (await shop.read(order), await shop.stock("A"), await shop.events("orders")) == before


async def _order_that_is(status: OrderStatus, shop: Shop) -> dict[str, object]:
    order = await shop.placed(("A", 1))
    if status is OrderStatus.REJECTED:
        await shop.receive(credit_refused(order))
    elif status is OrderStatus.CANCELLED:
        await shop.act(order, "cancel", as_=shop.support())
    elif status is not OrderStatus.PENDING:
        await shop.receive(credit_reserved(order))
    if status in (OrderStatus.SHIPPED, OrderStatus.DELIVERED, OrderStatus.REFUNDED):
        await shop.act(order, "ship", as_=shop.support())
    if status is OrderStatus.DELIVERED:
        await shop.act(order, "deliver", as_=shop.support())
    if status is OrderStatus.REFUNDED:
        body = {"amount_cents": order["total_cents"]}
        await shop.client.post(f"/v1/orders/{order['id']}/refunds", json=body, headers=shop.support())
    assert (await shop.read(order))["status"] == status
    return order


async def test_somebody_elses_order_is_not_there(shop: Shop) -> None:
    await shop.stock_up("A")
    order = await shop.placed(("A", 1), user_id=someone())
    for answer in (
        await shop.client.get(f"/v1/orders/{order['id']}", headers=shop.customer()),
        await shop.act(order, "cancel", as_=shop.customer()),
        await shop.client.get(f"/v1/orders/{someone()}", headers=shop.customer()),
        await shop.act({"id": someone()}, "cancel", as_=shop.support()),
    ):
        assert code_of(answer) == (404, "order_not_found")
    assert (await shop.read(order))["status"] == "pending"


async def test_customers_cannot_drive_their_orders_on(shop: Shop) -> None:
    await shop.stock_up("A")
    order = await shop.confirmed(("A", 1))
    for action in ("ship", "deliver", "refunds"):
        answer = await shop.client.post(
            f"/v1/orders/{order['id']}/{action}", json={"amount_cents": 1}, headers=shop.customer()
        )
        assert code_of(answer) == (403, "role_required")
    assert (await shop.read(order))["status"] == "confirmed"


async def test_a_change_that_names_a_version_is_refused_when_it_is_no_longer_that(shop: Shop) -> None:
    await shop.stock_up("A")
    order = await shop.confirmed(("A", 1))

    for stale in ('"1"', 'W/"2"', "2"):
        answer = await shop.act(order, "cancel", as_=shop.customer(if_match=stale))
        assert code_of(answer) == (412, "precondition_failed")
    answer = await shop.act(order, "cancel", as_=shop.customer(if_match='"2"'))

    assert answer.status_code == 200


async def test_a_refund_of_another_form_is_refused(shop: Shop) -> None:
    for body in ({}, {"amount_cents": 0}, {"amount_cents": 2**53}, {"amount_cents": 1, "to": "me"}):
        answer = await shop.client.post(f"/v1/orders/{CUSTOMER}/refunds", json=body, headers=shop.support())
        assert code_of(answer) == (422, "validation_failed"), body
