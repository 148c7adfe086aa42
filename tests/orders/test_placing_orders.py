"""POST /v1/orders: stock, events, errors and idempotency."""

from uuid import uuid4

import sqlalchemy as sa

from shared.amounts import MAX_AMOUNT_CENTS
from tests.harness.problems import problem
from tests.orders.service import CUSTOMER, OrdersService, credit_reserved


async def test_a_new_order_is_pending_and_reads_as_it_was_returned(service: OrdersService) -> None:
    await service.add_product("A", price_cents=255, stock=10)
    await service.add_product("B", price_cents=100, stock=10)

    response = await service.post_order(("B", 2), ("A", 6))

    order = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/v1/orders/{order['id']}"
    assert response.headers["etag"] == '"1"'
    assert order == {
        "id": order["id"],
        "number": order["number"],
        "user_id": str(CUSTOMER),
        "customer": None,
        "status": "pending",
        "currency": "GBP",
        "total_cents": 1730,
        "refunded_cents": 0,
        "deadline": order["deadline"],
        "created_at": order["created_at"],
        "updated_at": order["created_at"],
        "items": [
            {"sku": "B", "name": "Product B", "quantity": 2, "unit_price_cents": 100},
            {"sku": "A", "name": "Product A", "quantity": 6, "unit_price_cents": 255},
        ],
        "timeline": [
            {
                "at": order["created_at"],
                "status": "pending",
                "actor": "customer",
                "actor_id": str(CUSTOMER),
                "reason": None,
                "amount_cents": None,
            }
        ],
    }
    again = await service.http.get(response.headers["location"], headers=service.customer())
    assert (again.json(), again.headers["etag"]) == (order, '"1"')


async def test_a_new_order_reserves_its_stock_and_requests_credit(service: OrdersService) -> None:
    await service.add_product("A", price_cents=255, stock=10)
    order = (await service.post_order(("A", 6))).json()
    assert await service.stock("A") == (10, 6)
    assert await service.events("orders") == [
        (
            "order.created",
            {
                "order_id": order["id"],
                "number": order["number"],
                "user_id": str(CUSTOMER),
                "total_cents": 1530,
                "currency": "GBP",
                "deadline": order["deadline"],
            },
        )
    ]


async def test_the_deadline_is_two_minutes_after_the_databases_time(service: OrdersService) -> None:
    await service.add_product("A")
    order = await service.place_order(("A", 1))
    async with service.sessions() as session:
        seconds = await session.scalar(
            sa.text("SELECT extract(epoch FROM deadline - now()) FROM customer_order WHERE id = :id"),
            {"id": order["id"]},
        )
    assert 110 < seconds <= 120


async def test_quantities_of_one_product_are_added_up_before_stock_is_checked(service: OrdersService) -> None:
    await service.add_product("A", stock=5)

    rejected = await service.post_order(("A", 3), ("A", 3))
    order = await service.place_order(("A", 3), ("A", 2))

    assert problem(rejected) == (409, "out_of_stock")
    assert rejected.json()["items"] == [{"sku": "A", "wanted": 6, "available": 5}]
    assert [(item["sku"], item["quantity"]) for item in order["items"]] == [("A", 5)]
    assert await service.stock("A") == (5, 5)


async def test_an_order_without_enough_stock_changes_nothing(service: OrdersService) -> None:
    await service.add_product("A", stock=10)
    await service.add_product("B", stock=1)

    assert problem(await service.post_order(("A", 3), ("B", 2))) == (409, "out_of_stock")

    assert await service.stock("A") == (10, 0)
    assert await service.events("orders") == []
    assert (await service.http.get("/v1/orders", headers=service.customer())).json()["items"] == []


async def test_unknown_and_inactive_products_are_listed(service: OrdersService) -> None:
    await service.add_product("A")
    await service.add_product("B")
    await service.http.patch("/v1/products/B", json={"active": False}, headers=service.admin(if_match='"1"'))

    response = await service.post_order(("A", 1), ("B", 1), ("C", 1))

    assert problem(response) == (409, "product_unavailable")
    assert response.json()["skus"] == ["B", "C"]


async def test_products_in_two_currencies_are_rejected(service: OrdersService) -> None:
    await service.add_product("A")
    await service.add_product("B", currency="EUR")

    response = await service.post_order(("A", 1), ("B", 1))

    assert problem(response) == (409, "currencies_mixed")
    assert response.json()["currencies"] == ["EUR", "GBP"]


async def test_a_total_that_json_can_not_represent_is_rejected(service: OrdersService) -> None:
    await service.add_product("A", price_cents=MAX_AMOUNT_CENTS, stock=10**6)
    assert problem(await service.post_order(("A", 2))) == (422, "total_too_large")


async def test_an_invalid_order_is_rejected(service: OrdersService) -> None:
    line = {"sku": "A", "quantity": 1}
    bodies: list[dict[str, object]] = [
        {},
        {"items": []},
        {"items": [line | {"quantity": 0}]},
        {"items": [line | {"quantity": 100_001}]},
        {"items": [line | {"quantity": "1"}]},
        {"items": [line | {"quantity": True}]},
        {"items": [line | {"quantity": 1.5}]},
        {"items": [line | {"sku": "A B"}]},
        {"items": [line | {"price_cents": 1}]},
        {"items": [line], "user_id": str(CUSTOMER)},
        {"items": [line] * 1_001},
    ]
    await service.add_product("A", stock=10**6)
    for body in bodies:
        response = await service.http.post("/v1/orders", json=body, headers=service.customer())
        assert problem(response) == (422, "validation_failed"), body


async def test_a_setting_limits_the_items_of_an_order(service: OrdersService) -> None:
    app = service.http._transport.app  # type: ignore[attr-defined]  # the application behind the client
    app.state.settings = app.state.settings.model_copy(update={"max_items_per_order": 2})

    response = await service.post_order(("A", 1), ("A", 1), ("A", 1))

    assert problem(response) == (422, "too_many_items")
    assert response.json()["max_items"] == 2


async def test_a_repeat_with_the_same_key_gets_the_first_response(service: OrdersService) -> None:
    await service.add_product("A", stock=10)

    first = await service.post_order(("A", 4), key="one-basket")
    repeat = await service.post_order(("A", 4), key="one-basket")
    other = await service.post_order(("A", 5), key="one-basket")

    assert (repeat.status_code, repeat.json()) == (201, first.json())
    assert repeat.headers["etag"] == first.headers["etag"]
    assert problem(other) == (422, "idempotency_key_reused")
    assert await service.stock("A") == (10, 4)
    assert len(await service.events("orders")) == 1


async def test_an_error_is_not_saved_under_the_key(service: OrdersService) -> None:
    await service.add_product("A", stock=1)
    assert (await service.post_order(("A", 2), key="one-basket")).status_code == 409
    await service.http.patch("/v1/products/A", json={"stock": 2}, headers=service.admin(if_match='"1"'))
    assert (await service.post_order(("A", 2), key="one-basket")).status_code == 201


async def test_an_order_without_a_token_is_rejected(service: OrdersService) -> None:
    response = await service.http.post("/v1/orders", json={"items": [{"sku": "A", "quantity": 1}]})
    assert problem(response) == (401, "token_missing")


async def test_the_largest_order_fits_into_its_event(service: OrdersService) -> None:
    """A confirmation that does not fit into the outbox would become a dead letter and block its customer's events."""
    skus = [f"{'S' * 36}{number:04}" for number in range(1_000)]
    async with service.sessions.begin() as session:
        await session.execute(
            sa.text("""
                INSERT INTO product (sku, name, description, price_cents, currency, stock, reserved, active, version)
                SELECT sku, repeat('🫖', 100), '', 9999999999, 'GBP', 100000, 0, true, 1 FROM unnest(:skus) AS sku
            """).bindparams(sa.bindparam("skus", skus, type_=sa.ARRAY(sa.Text)))
        )

    order = await service.place_confirmed_order(*((sku, 100) for sku in skus))

    assert (await service.read_order(order))["status"] == "confirmed"
    assert len((await service.events("orders"))[-1][1]["lines"]) == 1_000


async def test_pending_orders_of_a_customer_are_limited(service: OrdersService) -> None:
    await service.add_product("A", stock=1000)
    first, *_ = [await service.place_order(("A", 1)) for _ in range(20)]

    rejected = await service.post_order(("A", 1))

    assert problem(rejected) == (429, "too_many_pending_orders")
    assert (rejected.json()["max_pending_orders"], rejected.headers["retry-after"]) == (20, "1")
    assert await service.stock("A") == (1000, 20)
    assert len(await service.events("orders")) == 20
    await service.place_order(("A", 1), user_id=uuid4())
    await service.apply(credit_reserved(first))
    await service.place_order(("A", 1))


async def test_units_of_a_customers_pending_orders_are_limited(service: OrdersService) -> None:
    await service.add_product("A", stock=1_000_000)
    await service.add_product("B", stock=1_000_000)
    first = await service.place_order(("A", 60_000))

    too_many = await service.post_order(("A", 20_000), ("B", 20_001))
    never = await service.post_order(("A", 50_000), ("B", 50_001))

    assert problem(too_many) == (429, "too_many_pending_units")
    assert (too_many.json()["max_pending_units"], too_many.json()["pending_units"]) == (100_000, 60_000)
    assert (problem(never), never.json()["max_units"]) == ((422, "too_many_units"), 100_000)
    assert await service.stock("A") == (1_000_000, 60_000)
    await service.place_order(("A", 20_000), ("B", 20_000))
    await service.post_action(first, "cancel", as_=service.customer())
    await service.place_order(("A", 60_000))
