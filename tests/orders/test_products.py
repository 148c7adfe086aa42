"""The catalogue: who sees what of it, who changes it, and what is told of a change."""

from tests.orders.shop import Shop, code_of

MUG = {"sku": "MUG", "name": "Tea mug", "description": "Holds tea.", "price_cents": 499, "currency": "GBP", "stock": 7}


async def test_a_new_product_is_for_sale_and_told_of(shop: Shop) -> None:
    answer = await shop.client.post("/v1/products", json=MUG, headers=shop.admin())

    assert answer.status_code == 201
    assert (answer.headers["location"], answer.headers["etag"]) == ("/v1/products/MUG", '"1"')
    assert answer.json() == MUG | {"active": True, "available": 7}
    read = await shop.client.get("/v1/products/MUG")
    assert (read.json(), read.headers["etag"]) == (answer.json(), '"1"')
    assert await shop.events("products") == [
        (
            "product.created",
            {"sku": "MUG", "name": "Tea mug", "price_cents": 499, "currency": "GBP", "active": True},
        )
    ]


async def test_a_sku_is_given_once(shop: Shop) -> None:
    await shop.stock_up("MUG")
    answer = await shop.client.post("/v1/products", json=MUG, headers=shop.admin())
    assert code_of(answer) == (409, "sku_taken")


async def test_a_repeat_with_the_same_key_is_no_taken_sku(shop: Shop) -> None:
    headers = shop.admin(key="mug")
    first = await shop.client.post("/v1/products", json=MUG, headers=headers)
    repeat = await shop.client.post("/v1/products", json=MUG, headers=headers)
    assert (repeat.status_code, repeat.content) == (201, first.content)
    assert len(await shop.events("products")) == 1


async def test_only_admins_change_the_catalogue(shop: Shop) -> None:
    for headers in (shop.customer(), shop.support()):
        for method, path in (("POST", "/v1/products"), ("PATCH", "/v1/products/MUG")):
            answer = await shop.client.request(method, path, json=MUG, headers=headers)
            assert code_of(answer) == (403, "role_required")


async def test_a_change_is_seen_at_once_although_products_are_cached(shop: Shop) -> None:
    await shop.stock_up("MUG", price_cents=499)
    await shop.client.get("/v1/products/MUG")

    changed = await shop.client.patch("/v1/products/MUG", json={"price_cents": 599}, headers=shop.admin(if_match='"1"'))

    assert (changed.status_code, changed.headers["etag"], changed.json()["price_cents"]) == (200, '"2"', 599)
    read = await shop.client.get("/v1/products/MUG")
    assert (read.json(), read.headers["etag"]) == (changed.json(), '"2"')
    assert [type_ for type_, _ in await shop.events("products")] == ["product.created", "product.updated"]


async def test_what_an_order_holds_is_no_longer_available_although_products_are_cached(shop: Shop) -> None:
    await shop.stock_up("MUG", stock=10)
    await shop.client.get("/v1/products/MUG")

    order = await shop.placed(("MUG", 4))
    held = (await shop.client.get("/v1/products/MUG")).json()
    await shop.act(order, "cancel", as_=shop.customer())
    given_back = (await shop.client.get("/v1/products/MUG")).json()

    assert (held["stock"], held["available"]) == (10, 6)
    assert (given_back["stock"], given_back["available"]) == (10, 10)


async def test_a_change_that_changes_nothing_is_no_news(shop: Shop) -> None:
    await shop.stock_up("MUG", price_cents=499)
    answer = await shop.client.patch("/v1/products/MUG", json={"price_cents": 499}, headers=shop.admin(if_match='"1"'))
    assert (answer.status_code, answer.headers["etag"]) == (200, '"1"')
    assert len(await shop.events("products")) == 1


async def test_a_change_names_the_version_that_it_changes(shop: Shop) -> None:
    await shop.stock_up("MUG")
    without = await shop.client.patch("/v1/products/MUG", json={}, headers=shop.admin())
    stale = await shop.client.patch("/v1/products/MUG", json={}, headers=shop.admin(if_match='"9"'))
    unknown = await shop.client.patch("/v1/products/CUP", json={}, headers=shop.admin(if_match='"1"'))
    assert code_of(without) == (428, "precondition_required")
    assert code_of(stale) == (412, "precondition_failed")
    assert code_of(unknown) == (404, "product_not_found")


async def test_reservations_do_not_stand_in_the_way_of_a_change_but_shipped_stock_does(shop: Shop) -> None:
    await shop.stock_up("MUG", stock=10)
    order = await shop.confirmed(("MUG", 4))
    held = await shop.client.patch("/v1/products/MUG", json={"stock": 20}, headers=shop.admin(if_match='"1"'))
    await shop.act(order, "ship", as_=shop.support())
    left = await shop.client.patch("/v1/products/MUG", json={"stock": 20}, headers=shop.admin(if_match='"2"'))
    assert held.status_code == 200
    assert code_of(left) == (412, "precondition_failed")
    assert await shop.stock("MUG") == (16, 0)


async def test_stock_cannot_be_less_than_open_orders_hold(shop: Shop) -> None:
    await shop.stock_up("MUG", stock=10)
    await shop.placed(("MUG", 4))

    refused = await shop.client.patch("/v1/products/MUG", json={"stock": 3}, headers=shop.admin(if_match='"1"'))
    allowed = await shop.client.patch("/v1/products/MUG", json={"stock": 4}, headers=shop.admin(if_match='"1"'))

    assert code_of(refused) == (409, "stock_below_reserved")
    assert refused.json()["reserved"] == 4
    assert allowed.json()["available"] == 0


async def test_the_list_is_in_order_of_the_sku_and_comes_in_pages(shop: Shop) -> None:
    for sku in ("C", "A", "D", "B"):
        await shop.stock_up(sku)

    first = await shop.client.get("/v1/products", params={"limit": 3})
    second = await shop.client.get("/v1/products", params={"limit": 3, "cursor": first.json()["next_cursor"]})

    assert [product["sku"] for product in first.json()["items"]] == ["A", "B", "C"]
    assert 'rel="next"' in first.headers["link"]
    assert [product["sku"] for product in second.json()["items"]] == ["D"]
    assert second.json()["next_cursor"] is None
    assert code_of(await shop.client.get("/v1/products", params={"cursor": "x"})) == (422, "cursor_invalid")


async def test_a_search_finds_the_text_itself_anywhere_in_the_name(shop: Shop) -> None:
    await shop.stock_up("A", name="WHITE 100% COTTON BAG")
    await shop.stock_up("B", name="White 1000 piece puzzle")
    await shop.stock_up("C", name="back\\slash_tin")

    async def found(search: str) -> list[str]:
        answer = await shop.client.get("/v1/products", params={"search": search})
        return [product["sku"] for product in answer.json()["items"]]

    assert await found("white") == ["A", "B"]
    assert await found("100%") == ["A"]
    assert await found("k\\s") == ["C"]
    assert await found("h_t") == ["C"]
    assert code_of(await shop.client.get("/v1/products", params={"search": "ab"})) == (422, "validation_failed")


async def test_what_is_not_for_sale_is_shown_to_staff_only(shop: Shop) -> None:
    await shop.stock_up("MUG")
    await shop.client.patch("/v1/products/MUG", json={"active": False}, headers=shop.admin(if_match='"1"'))

    assert (await shop.client.get("/v1/products")).json()["items"] == []
    for headers in ({}, shop.customer()):
        assert code_of(await shop.client.get("/v1/products/MUG", headers=headers)) == (404, "product_not_found")
        hidden = await shop.client.get("/v1/products", params={"active": False}, headers=headers)
        assert code_of(hidden) == (403, "role_required")
    assert (await shop.client.get("/v1/products/MUG", headers=shop.support())).json()["active"] is False
    hidden = await shop.client.get("/v1/products", params={"active": False}, headers=shop.support())
    assert [product["sku"] for product in hidden.json()["items"]] == ["MUG"]


async def test_a_bad_token_is_refused_where_none_is_needed(shop: Shop) -> None:
    answer = await shop.client.get("/v1/products", headers={"Authorization": "Bearer no-token"})
    assert code_of(answer) == (401, "token_invalid")


async def test_a_product_out_of_bounds_is_refused(shop: Shop) -> None:
    wrong: list[dict[str, object]] = [
        {"price_cents": 0},
        {"price_cents": 10**12 + 1},
        {"stock": -1},
        {"stock": 10**9 + 1},
        {"name": ""},
        {"name": "x" * 101},
        {"name": "two\nlines"},
        {"name": "nul\x00"},
        {"description": "nul\x00"},
        {"currency": "gbp"},
        {"sku": "with space"},
        {"sku": "x" * 41},
        {"sku": "MUG\n"},
        {"reserved": 1},
    ]
    for changes in wrong:
        answer = await shop.client.post("/v1/products", json=MUG | changes, headers=shop.admin())
        assert code_of(answer) == (422, "validation_failed"), changes


async def test_what_cannot_be_changed_is_refused(shop: Shop) -> None:
    await shop.stock_up("MUG")
    wrong: list[dict[str, object]] = [
        {"sku": "CUP"},
        {"currency": "EUR"},
        {"reserved": 0},
        {"name": None},
        {"stock": None},
        {"active": 1},
    ]
    for changes in wrong:
        answer = await shop.client.patch("/v1/products/MUG", json=changes, headers=shop.admin(if_match='"1"'))
        assert code_of(answer) == (422, "validation_failed"), changes


async def test_a_sku_that_cannot_exist_is_refused_before_any_look_up(shop: Shop) -> None:
    assert code_of(await shop.client.get("/v1/products/no%00sku")) == (422, "validation_failed")
    assert code_of(await shop.client.get("/v1/products/CUP")) == (404, "product_not_found")
