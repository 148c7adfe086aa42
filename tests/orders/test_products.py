"""The catalogue: reading, creating and updating products."""

from shared.http.etags import etag_of
from tests.harness.problems import problem
from tests.orders.service import OrdersService

MUG = {"sku": "MUG", "name": "Tea mug", "description": "Holds tea.", "price_cents": 499, "currency": "GBP", "stock": 7}


async def test_a_new_product_is_for_sale_and_recorded_as_an_event(service: OrdersService) -> None:
    response = await service.http.post("/v1/products", json=MUG, headers=service.admin())

    assert response.status_code == 201
    assert (response.headers["location"], response.headers["etag"]) == ("/v1/products/MUG", etag_of(1, 7))
    assert response.json() == MUG | {"active": True, "available": 7}
    read = await service.http.get("/v1/products/MUG")
    assert (read.json(), read.headers["etag"]) == (response.json(), etag_of(1, 7))
    assert await service.events("products") == [
        (
            "product.created",
            {"sku": "MUG", "name": "Tea mug", "price_cents": 499, "currency": "GBP", "active": True},
        )
    ]


async def test_a_taken_sku_is_rejected(service: OrdersService) -> None:
    await service.add_product("MUG")
    response = await service.http.post("/v1/products", json=MUG, headers=service.admin())
    assert problem(response) == (409, "sku_taken")


async def test_a_repeat_with_the_same_key_gets_the_first_response(service: OrdersService) -> None:
    headers = service.admin(key="mug")
    first = await service.http.post("/v1/products", json=MUG, headers=headers)
    repeat = await service.http.post("/v1/products", json=MUG, headers=headers)
    assert (repeat.status_code, repeat.content) == (201, first.content)
    assert len(await service.events("products")) == 1


async def test_only_admins_change_the_catalogue(service: OrdersService) -> None:
    for headers in (service.customer(), service.support()):
        for method, path in (("POST", "/v1/products"), ("PATCH", "/v1/products/MUG")):
            response = await service.http.request(method, path, json=MUG, headers=headers)
            assert problem(response) == (403, "role_required")


async def test_an_update_invalidates_the_cached_product(service: OrdersService) -> None:
    await service.add_product("MUG", price_cents=499)
    await service.http.get("/v1/products/MUG")

    changed = await service.http.patch(
        "/v1/products/MUG", json={"price_cents": 599}, headers=service.admin(if_match='"1"')
    )

    assert (changed.status_code, changed.headers["etag"], changed.json()["price_cents"]) == (
        200,
        etag_of(2, 100),
        599,
    )
    read = await service.http.get("/v1/products/MUG")
    assert (read.json(), read.headers["etag"]) == (changed.json(), etag_of(2, 100))
    assert [type_ for type_, _ in await service.events("products")] == ["product.created", "product.updated"]


async def test_placing_and_cancelling_an_order_invalidate_the_cached_product(service: OrdersService) -> None:
    await service.add_product("MUG", stock=10)
    await service.http.get("/v1/products/MUG")

    order = await service.place_order(("MUG", 4))
    reserved = (await service.http.get("/v1/products/MUG")).json()
    await service.post_action(order, "cancel", as_=service.customer())
    released = (await service.http.get("/v1/products/MUG")).json()

    assert (reserved["stock"], reserved["available"]) == (10, 6)
    assert (released["stock"], released["available"]) == (10, 10)


async def test_an_update_to_the_same_values_makes_no_version_and_no_event(service: OrdersService) -> None:
    await service.add_product("MUG", price_cents=499)
    response = await service.http.patch(
        "/v1/products/MUG", json={"price_cents": 499}, headers=service.admin(if_match='"1"')
    )
    assert (response.status_code, response.headers["etag"]) == (200, etag_of(1, 100))
    assert len(await service.events("products")) == 1


async def test_an_update_requires_the_present_version(service: OrdersService) -> None:
    await service.add_product("MUG")
    without = await service.http.patch("/v1/products/MUG", json={}, headers=service.admin())
    stale = await service.http.patch("/v1/products/MUG", json={}, headers=service.admin(if_match='"9"'))
    unknown = await service.http.patch("/v1/products/CUP", json={}, headers=service.admin(if_match='"1"'))
    assert problem(without) == (428, "precondition_required")
    assert problem(stale) == (412, "precondition_failed")
    assert problem(unknown) == (404, "product_not_found")


async def test_a_read_of_a_known_product_is_a_304_until_it_or_its_available_stock_changes(
    service: OrdersService,
) -> None:
    await service.add_product("MUG", stock=10)

    async def status_of_read() -> int:
        response = await service.http.get("/v1/products/MUG", headers={"If-None-Match": known})
        return response.status_code

    known = (await service.http.get("/v1/products/MUG")).headers["etag"]
    before = await status_of_read()
    await service.place_order(("MUG", 4))
    after = await status_of_read()
    known = (await service.http.get("/v1/products/MUG")).headers["etag"]

    assert (before, after, await status_of_read()) == (304, 200, 304)
    change = await service.http.patch("/v1/products/MUG", json={"stock": 11}, headers=service.admin(if_match=known))
    assert (change.status_code, await status_of_read()) == (200, 200)


async def test_a_change_of_any_or_one_of_several_versions_is_made(service: OrdersService) -> None:
    await service.add_product("MUG")
    for tags in ("*", '"9", "2"', f'W/"3", {etag_of(3, "other stock")}'):
        headers = service.admin(if_match=tags)
        response = await service.http.patch("/v1/products/MUG", json={"name": f"Mug {tags[:3]}"}, headers=headers)
        assert response.status_code == 200, response.text
    assert (await service.http.get("/v1/products/MUG")).headers["etag"] == etag_of(4, 100)


async def test_shipping_changes_the_version_and_reserving_does_not(service: OrdersService) -> None:
    await service.add_product("MUG", stock=10)
    order = await service.place_confirmed_order(("MUG", 4))
    reserved = await service.http.patch("/v1/products/MUG", json={"stock": 20}, headers=service.admin(if_match='"1"'))
    await service.post_action(order, "ship", as_=service.support())
    shipped = await service.http.patch("/v1/products/MUG", json={"stock": 20}, headers=service.admin(if_match='"2"'))
    assert reserved.status_code == 200
    assert problem(shipped) == (412, "precondition_failed")
    assert await service.stock("MUG") == (16, 0)


async def test_stock_below_reserved_stock_is_rejected(service: OrdersService) -> None:
    await service.add_product("MUG", stock=10)
    await service.place_order(("MUG", 4))

    rejected = await service.http.patch("/v1/products/MUG", json={"stock": 3}, headers=service.admin(if_match='"1"'))
    allowed = await service.http.patch("/v1/products/MUG", json={"stock": 4}, headers=service.admin(if_match='"1"'))

    assert problem(rejected) == (409, "stock_below_reserved")
    assert rejected.json()["reserved"] == 4
    assert allowed.json()["available"] == 0


async def test_products_are_listed_by_sku_in_pages(service: OrdersService) -> None:
    for sku in ("C", "A", "D", "B"):
        await service.add_product(sku)

    first = await service.http.get("/v1/products", params={"limit": 3})
    second = await service.http.get("/v1/products", params={"limit": 3, "cursor": first.json()["next_cursor"]})

    assert [product["sku"] for product in first.json()["items"]] == ["A", "B", "C"]
    assert 'rel="next"' in first.headers["link"]
    assert [product["sku"] for product in second.json()["items"]] == ["D"]
    assert second.json()["next_cursor"] is None
    assert problem(await service.http.get("/v1/products", params={"cursor": "x"})) == (422, "cursor_invalid")


async def test_a_search_finds_literal_text_anywhere_in_the_name(service: OrdersService) -> None:
    await service.add_product("A", name="WHITE 100% COTTON BAG")
    await service.add_product("B", name="White 1000 piece puzzle")
    await service.add_product("C", name="back\\slash_tin")

    async def found(search: str) -> list[str]:
        response = await service.http.get("/v1/products", params={"search": search})
        return [product["sku"] for product in response.json()["items"]]

    assert await found("white") == ["A", "B"]
    assert await found("100%") == ["A"]
    assert await found("k\\s") == ["C"]
    assert await found("h_t") == ["C"]
    assert problem(await service.http.get("/v1/products", params={"search": "ab"})) == (422, "validation_failed")


async def test_only_staff_see_inactive_products(service: OrdersService) -> None:
    await service.add_product("MUG")
    await service.http.patch("/v1/products/MUG", json={"active": False}, headers=service.admin(if_match='"1"'))

    assert (await service.http.get("/v1/products")).json()["items"] == []
    for headers in ({}, service.customer()):
        assert problem(await service.http.get("/v1/products/MUG", headers=headers)) == (404, "product_not_found")
        hidden = await service.http.get("/v1/products", params={"active": False}, headers=headers)
        assert problem(hidden) == (403, "role_required")
    assert (await service.http.get("/v1/products/MUG", headers=service.support())).json()["active"] is False
    hidden = await service.http.get("/v1/products", params={"active": False}, headers=service.support())
    assert [product["sku"] for product in hidden.json()["items"]] == ["MUG"]


async def test_an_invalid_token_is_rejected_on_a_public_route(service: OrdersService) -> None:
    response = await service.http.get("/v1/products", headers={"Authorization": "Bearer no-token"})
    assert problem(response) == (401, "token_invalid")


async def test_an_invalid_product_is_rejected(service: OrdersService) -> None:
    wrong: list[dict[str, object]] = [
        {"price_cents": 0},
        {"price_cents": 10**15 + 1},
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
        response = await service.http.post("/v1/products", json=MUG | changes, headers=service.admin())
        assert problem(response) == (422, "validation_failed"), changes


async def test_an_invalid_update_is_rejected(service: OrdersService) -> None:
    await service.add_product("MUG")
    wrong: list[dict[str, object]] = [
        {"sku": "CUP"},
        {"currency": "EUR"},
        {"reserved": 0},
        {"name": None},
        {"stock": None},
        {"active": 1},
    ]
    for changes in wrong:
        response = await service.http.patch("/v1/products/MUG", json=changes, headers=service.admin(if_match='"1"'))
        assert problem(response) == (422, "validation_failed"), changes


async def test_an_invalid_sku_is_rejected(service: OrdersService) -> None:
    assert problem(await service.http.get("/v1/products/no%00sku")) == (422, "validation_failed")
    assert problem(await service.http.get("/v1/products/CUP")) == (404, "product_not_found")
