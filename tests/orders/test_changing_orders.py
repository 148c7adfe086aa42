"""Cancel, ship, deliver and refund: their effects, and the statuses in which they are not allowed."""

from uuid import uuid4

from services.orders.models import ALLOWED_TRANSITIONS, Customer, OrderStatus
from tests.harness.problems import problem
from tests.orders.service import (
    CUSTOMER,
    SUPPORT,
    OrdersService,
    credit_refused,
    credit_reserved,
)

ACTIONS = {
    "cancel": OrderStatus.CANCELLED,
    "ship": OrderStatus.SHIPPED,
    "deliver": OrderStatus.DELIVERED,
    "refunds": OrderStatus.REFUNDED,
}


async def test_cancelling_an_order_releases_its_stock(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    order = await service.place_confirmed_order(("A", 4))

    response = await service.post_action(order, "cancel", as_=service.customer())

    assert (response.status_code, response.json()["status"], response.headers["etag"]) == (200, "cancelled", '"3"')
    assert await service.stock("A") == (10, 0)
    type_, data = (await service.events("orders"))[-1]
    assert (type_, data["order_id"], data["reason"]) == ("order.cancelled", order["id"], "customer")


async def test_a_cancellation_by_support_is_recorded_as_such(service: OrdersService) -> None:
    await service.add_product("A")
    order = await service.place_order(("A", 4))

    response = await service.post_action(order, "cancel", as_=service.support())

    assert (await service.events("orders"))[-1][1]["reason"] == "support"
    last = response.json()["timeline"][-1]
    assert (last["status"], last["actor"], last["actor_id"]) == ("cancelled", "support", str(SUPPORT))


async def test_an_order_is_shipped_and_delivered(service: OrdersService) -> None:
    await service.add_product("A", stock=10, price_cents=250)
    order = await service.place_confirmed_order(("A", 4))

    shipped = await service.post_action(order, "ship", as_=service.support())
    delivered = await service.post_action(order, "deliver", as_=service.support())

    assert (shipped.json()["status"], delivered.json()["status"]) == ("shipped", "delivered")
    assert await service.stock("A") == (6, 0)
    assert [(entry["status"], entry["actor"]) for entry in delivered.json()["timeline"]] == [
        ("pending", "customer"),
        ("confirmed", "system"),
        ("shipped", "support"),
        ("delivered", "support"),
    ]
    types = [type_ for type_, _ in await service.events("orders")]
    assert types == ["order.created", "order.confirmed", "order.shipped", "order.delivered"]
    assert (await service.events("orders"))[1][1]["lines"] == [
        {"sku": "A", "name": "Product A", "quantity": 4, "unit_price_cents": 250}
    ]


async def test_refunds_add_up_to_the_total_at_most(service: OrdersService) -> None:
    await service.add_product("A", price_cents=250)
    order = await service.place_confirmed_order(("A", 4))
    await service.post_action(order, "ship", as_=service.support())
    path = f"/v1/orders/{order['id']}/refunds"

    part = await service.http.post(path, json={"amount_cents": 300, "reason": "A scratch."}, headers=service.support())
    too_much = await service.http.post(path, json={"amount_cents": 701}, headers=service.support())
    rest = await service.http.post(path, json={"amount_cents": 700}, headers=service.support())
    after = await service.http.post(path, json={"amount_cents": 1}, headers=service.support())

    assert part.status_code == 201
    assert part.headers["location"] == f"/v1/orders/{order['id']}"
    assert (part.json()["status"], part.json()["refunded_cents"]) == ("shipped", 300)
    assert problem(too_much) == (409, "refund_exceeds_total")
    assert too_much.json()["refundable_cents"] == 700
    assert (rest.json()["status"], rest.json()["refunded_cents"]) == ("refunded", 1000)
    assert problem(after) == (409, "transition_not_allowed")
    refunds = [data for type_, data in await service.events("orders") if type_ == "order.refunded"]
    assert [(data["amount_cents"], data["refunded_cents"]) for data in refunds] == [(300, 300), (700, 1000)]
    entry = part.json()["timeline"][-1]
    assert (entry["status"], entry["reason"], entry["amount_cents"]) == ("shipped", "A scratch.", 300)


async def test_a_repeated_refund_with_the_same_key_refunds_once(service: OrdersService) -> None:
    await service.add_product("A", price_cents=250)
    order = await service.place_confirmed_order(("A", 4))
    await service.post_action(order, "ship", as_=service.support())
    headers = service.support(key="scratch")

    for _ in range(2):
        response = await service.http.post(
            f"/v1/orders/{order['id']}/refunds", json={"amount_cents": 300}, headers=headers
        )
        assert response.status_code == 201

    assert (await service.read_order(order))["refunded_cents"] == 300


async def test_a_transition_that_is_not_allowed_changes_nothing(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    for status in OrderStatus:
        order = await _order_with_status(status, service)
        before = (await service.read_order(order), await service.stock("A"), await service.events("orders"))

        for action, after in ACTIONS.items():
            if after in ALLOWED_TRANSITIONS[status]:
                continue
            response = await service.http.post(
                f"/v1/orders/{order['id']}/{action}",
                json={"amount_cents": 1} if action == "refunds" else None,
                headers=service.support(),
            )
            assert problem(response) == (409, "transition_not_allowed")
            assert (response.json()["from"], response.json()["to"]) == (status, after)

        assert (await service.read_order(order), await service.stock("A"), await service.events("orders")) == before


async def _order_with_status(status: OrderStatus, service: OrdersService) -> dict[str, object]:
    order = await service.place_order(("A", 1))
    if status is OrderStatus.REJECTED:
        await service.apply(credit_refused(order))
    elif status is OrderStatus.CANCELLED:
        await service.post_action(order, "cancel", as_=service.support())
    elif status is not OrderStatus.PENDING:
        await service.apply(credit_reserved(order))
    if status in (OrderStatus.SHIPPED, OrderStatus.DELIVERED, OrderStatus.REFUNDED):
        await service.post_action(order, "ship", as_=service.support())
    if status is OrderStatus.DELIVERED:
        await service.post_action(order, "deliver", as_=service.support())
    if status is OrderStatus.REFUNDED:
        body = {"amount_cents": order["total_cents"]}
        await service.http.post(f"/v1/orders/{order['id']}/refunds", json=body, headers=service.support())
    assert (await service.read_order(order))["status"] == status
    return order


async def test_the_order_of_another_customer_is_not_found(service: OrdersService) -> None:
    await service.add_product("A")
    order = await service.place_order(("A", 1), user_id=uuid4())
    for response in (
        await service.http.get(f"/v1/orders/{order['id']}", headers=service.customer()),
        await service.post_action(order, "cancel", as_=service.customer()),
        await service.http.get(f"/v1/orders/{uuid4()}", headers=service.customer()),
        await service.post_action({"id": uuid4()}, "cancel", as_=service.support()),
    ):
        assert problem(response) == (404, "order_not_found")
    assert (await service.read_order(order))["status"] == "pending"


async def test_customers_can_not_ship_deliver_or_refund(service: OrdersService) -> None:
    await service.add_product("A")
    order = await service.place_confirmed_order(("A", 1))
    for action in ("ship", "deliver", "refunds"):
        response = await service.http.post(
            f"/v1/orders/{order['id']}/{action}", json={"amount_cents": 1}, headers=service.customer()
        )
        assert problem(response) == (403, "role_required")
    assert (await service.read_order(order))["status"] == "confirmed"


async def test_a_change_with_a_stale_version_is_rejected(service: OrdersService) -> None:
    await service.add_product("A")
    order = await service.place_confirmed_order(("A", 1))

    for stale in ('"1"', 'W/"2"', "2"):
        response = await service.post_action(order, "cancel", as_=service.customer(if_match=stale))
        assert problem(response) == (412, "precondition_failed")
    response = await service.post_action(order, "cancel", as_=service.customer(if_match='"7", "2"'))

    assert response.status_code == 200


async def test_a_repeat_of_a_change_gets_the_first_response_and_has_no_effect(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    cancelled, shipped = [await service.place_confirmed_order(("A", 2)) for _ in range(2)]
    actions = ((cancelled, "cancel"), (shipped, "ship"), (shipped, "deliver"))
    recorded = len(await service.events("orders"))

    for order, action in actions:
        headers = service.support(key=f"{action}-1", if_match="*")
        first = await service.post_action(order, action, as_=headers)
        repeat = await service.post_action(order, action, as_=headers)
        assert (first.status_code, "idempotency-replayed" in first.headers) == (200, False)
        assert (repeat.status_code, repeat.content, repeat.headers["etag"]) == (
            200,
            first.content,
            first.headers["etag"],
        )
        assert repeat.headers["idempotency-replayed"] == "true"

    # A later change does not change the answer, and without the key the repeat is refused.
    replayed = await service.post_action(shipped, "ship", as_=service.support(key="ship-1", if_match="*"))
    refused = await service.post_action(shipped, "ship", as_=service.support())
    assert (replayed.json()["status"], problem(refused)) == ("shipped", (409, "transition_not_allowed"))
    assert [type_ for type_, _ in (await service.events("orders"))[recorded:]] == [
        "order.cancelled",
        "order.shipped",
        "order.delivered",
    ]
    assert await service.stock("A") == (8, 0)


async def test_a_read_of_a_known_order_is_a_304_until_it_changes(service: OrdersService) -> None:
    await service.add_product("A")
    order = await service.place_order(("A", 1))
    path = f"/v1/orders/{order['id']}"

    async def status_of_read() -> int:
        return (await service.http.get(path, headers=service.customer() | {"If-None-Match": '"1"'})).status_code

    before = await status_of_read()
    await service.apply(credit_reserved(order))
    assert (before, await status_of_read()) == (304, 200)


async def test_staff_see_a_changed_name_of_the_customer_in_spite_of_a_known_version(service: OrdersService) -> None:
    await service.add_product("A")
    order = await service.place_order(("A", 1))
    path, known = f"/v1/orders/{order['id']}", {"If-None-Match": '"1"'}
    assert (await service.http.get(path, headers=service.support() | known)).status_code == 304

    async with service.sessions.begin() as session:
        session.add(Customer(user_id=CUSTOMER, email="ada@example.com", name="Ada", sequence=1))

    response = await service.http.get(path, headers=service.support() | known)
    assert (response.status_code, response.json()["customer"]["name"]) == (200, "Ada")
    assert (await service.http.get(path, headers=service.customer() | known)).status_code == 304


async def test_an_invalid_refund_is_rejected(service: OrdersService) -> None:
    for body in ({}, {"amount_cents": 0}, {"amount_cents": 2**53}, {"amount_cents": 1, "to": "me"}):
        response = await service.http.post(f"/v1/orders/{CUSTOMER}/refunds", json=body, headers=service.support())
        assert problem(response) == (422, "validation_failed"), body
