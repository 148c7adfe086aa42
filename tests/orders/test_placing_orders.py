"""POST /v1/orders: what is set aside, what is asked for, and every reason to refuse."""

import sqlalchemy as sa

from tests.orders.shop import CUSTOMER, Shop, code_of


async def test_an_order_is_pending_and_reads_as_it_was_answered(shop: Shop) -> None:
    await shop.stock_up("A", price_cents=255, stock=10)
    await shop.stock_up("B", price_cents=100, stock=10)

    answer = await shop.place(("B", 2), ("A", 6))

    order = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/orders/{order['id']}"
    assert answer.headers["etag"] == '"1"'
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
    again = await shop.client.get(answer.headers["location"], headers=shop.customer())
    assert (again.json(), again.headers["etag"]) == (order, '"1"')


async def test_an_order_holds_its_stock_and_asks_for_credit(shop: Shop) -> None:
    await shop.stock_up("A", price_cents=255, stock=10)
    order = (await shop.place(("A", 6))).json()
    assert await shop.stock("A") == (10, 6)
    assert await shop.events("orders") == [
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


async def test_the_deadline_is_two_minutes_ahead_of_the_databases_clock(shop: Shop) -> None:
    await shop.stock_up("A")
    order = await shop.placed(("A", 1))
    async with shop.sessions() as session:
        seconds = await session.scalar(
            sa.text("SELECT extract(epoch FROM deadline - now()) FROM customer_order WHERE id = :id"),
            {"id": order["id"]},
        )
    assert 110 < seconds <= 120


async def test_lines_of_one_product_are_added_up_before_stock_is_judged(shop: Shop) -> None:
    await shop.stock_up("A", stock=5)

    refused = await shop.place(("A", 3), ("A", 3))
    order = await shop.placed(("A", 3), ("A", 2))

    assert code_of(refused) == (409, "out_of_stock")
    assert refused.json()["items"] == [{"sku": "A", "wanted": 6, "available": 5}]
    assert [(item["sku"], item["quantity"]) for item in order["items"]] == [("A", 5)]
    assert await shop.stock("A") == (5, 5)


async def test_a_refused_order_leaves_nothing_behind(shop: Shop) -> None:
    await shop.stock_up("A", stock=10)
    await shop.stock_up("B", stock=1)

    assert code_of(await shop.place(("A", 3), ("B", 2))) == (409, "out_of_stock")

    assert await shop.stock("A") == (10, 0)
    assert await shop.events("orders") == []
    assert (await shop.client.get("/v1/orders", headers=shop.customer())).json()["items"] == []


async def test_unknown_and_inactive_products_are_named(shop: Shop) -> None:
    await shop.stock_up("A")
    await shop.stock_up("B")
    await shop.client.patch("/v1/products/B", json={"active": False}, headers=shop.admin(if_match='"1"'))

    answer = await shop.place(("A", 1), ("B", 1), ("C", 1))

    assert code_of(answer) == (409, "product_unavailable")
    assert answer.json()["skus"] == ["B", "C"]


async def test_products_of_two_currencies_are_no_order(shop: Shop) -> None:
    await shop.stock_up("A")
    await shop.stock_up("B", currency="EUR")

    answer = await shop.place(("A", 1), ("B", 1))

    assert code_of(answer) == (409, "currencies_mixed")
    assert answer.json()["currencies"] == ["EUR", "GBP"]


async def test_a_total_that_json_cannot_hold_is_refused(shop: Shop) -> None:
    await shop.stock_up("A", price_cents=10**12, stock=10**6)
    assert code_of(await shop.place(("A", 10_000))) == (422, "total_too_large")


async def test_a_body_of_another_form_is_refused(shop: Shop) -> None:
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
    await shop.stock_up("A", stock=10**6)
    for body in bodies:
        answer = await shop.client.post("/v1/orders", json=body, headers=shop.customer())
        assert code_of(answer) == (422, "validation_failed"), body


async def test_the_setting_bounds_the_lines_of_an_order(shop: Shop) -> None:
    app = shop.client._transport.app  # type: ignore[attr-defined]  # the application that the client talks to
    app.state.settings = app.state.settings.model_copy(update={"max_items_per_order": 2})

    answer = await shop.place(("A", 1), ("A", 1), ("A", 1))

    assert code_of(answer) == (422, "too_many_items")
    assert answer.json()["max_items"] == 2


async def test_a_repeat_with_the_same_key_gets_the_first_answer_and_no_second_order(shop: Shop) -> None:
    await shop.stock_up("A", stock=10)

    first = await shop.place(("A", 4), key="one-basket")
    repeat = await shop.place(("A", 4), key="one-basket")
    other = await shop.place(("A", 5), key="one-basket")

    assert (repeat.status_code, repeat.json()) == (201, first.json())
    assert repeat.headers["etag"] == first.headers["etag"]
    assert code_of(other) == (422, "idempotency_key_reused")
    assert await shop.stock("A") == (10, 4)
    assert len(await shop.events("orders")) == 1


async def test_a_refusal_is_not_saved_under_the_key(shop: Shop) -> None:
    await shop.stock_up("A", stock=1)
    assert (await shop.place(("A", 2), key="one-basket")).status_code == 409
    await shop.client.patch("/v1/products/A", json={"stock": 2}, headers=shop.admin(if_match='"1"'))
    assert (await shop.place(("A", 2), key="one-basket")).status_code == 201


async def test_nobody_orders_without_a_token(shop: Shop) -> None:
    answer = await shop.client.post("/v1/orders", json={"items": [{"sku": "A", "quantity": 1}]})
    assert code_of(answer) == (401, "token_missing")


async def test_the_largest_order_still_fits_into_its_event(shop: Shop) -> None:
    """A confirmation that the outbox refused would park its customer's events."""
    skus = [f"{'S' * 36}{number:04}" for number in range(1_000)]
    async with shop.sessions.begin() as session:
        await session.execute(
            sa.text("""
                INSERT INTO product (sku, name, description, price_cents, currency, stock, reserved, active, version)
                SELECT sku, repeat('🫖', 100), '', 90000000, 'GBP', 100000, 0, true, 1 FROM unnest(:skus) AS sku
            """).bindparams(sa.bindparam("skus", skus, type_=sa.ARRAY(sa.Text)))
        )

    order = await shop.confirmed(*((sku, 100_000) for sku in skus))

    assert (await shop.read(order))["status"] == "confirmed"
    assert len((await shop.events("orders"))[-1][1]["lines"]) == 1_000
