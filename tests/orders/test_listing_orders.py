"""GET /v1/orders: whose orders are in it, in which order, and what support finds with it."""

from shared.events.users import UserCreated, UserUpdated
from tests.orders.shop import CUSTOMER, Shop, code_of, someone


async def test_customers_list_their_own_orders_newest_first_in_pages(shop: Shop) -> None:
    await shop.stock_up("A")
    placed = [(await shop.placed(("A", 1)))["id"] for _ in range(3)]
    await shop.placed(("A", 1), user_id=someone())

    first = await shop.client.get("/v1/orders", params={"limit": 2}, headers=shop.customer())
    second = await shop.client.get(
        "/v1/orders", params={"limit": 2, "cursor": first.json()["next_cursor"]}, headers=shop.customer()
    )

    pages = [[order["id"] for order in page.json()["items"]] for page in (first, second)]
    assert pages == [[placed[2], placed[1]], [placed[0]]]
    assert second.json()["next_cursor"] is None


async def test_support_lists_everybodys_orders_or_one_users(shop: Shop) -> None:
    await shop.stock_up("A")
    mine = await shop.placed(("A", 1))
    other_user = someone()
    other = await shop.placed(("A", 1), user_id=other_user)

    everybodys = await shop.client.get("/v1/orders", headers=shop.support())
    one_users = await shop.client.get("/v1/orders", params={"user_id": str(other_user)}, headers=shop.support())
    forbidden = await shop.client.get("/v1/orders", params={"user_id": str(other_user)}, headers=shop.customer())
    own = await shop.client.get("/v1/orders", params={"user_id": str(CUSTOMER)}, headers=shop.customer())

    assert [order["id"] for order in everybodys.json()["items"]] == [other["id"], mine["id"]]
    assert [order["id"] for order in one_users.json()["items"]] == [other["id"]]
    assert code_of(forbidden) == (403, "role_required")
    assert [order["id"] for order in own.json()["items"]] == [mine["id"]]


async def test_orders_are_found_by_status_and_by_number(shop: Shop) -> None:
    await shop.stock_up("A")
    pending = await shop.placed(("A", 1))
    cancelled = await shop.placed(("A", 1))
    await shop.act(cancelled, "cancel", as_=shop.customer())

    async def found(**params: str) -> list[str]:
        answer = await shop.client.get("/v1/orders", params=params, headers=shop.support())
        return [order["id"] for order in answer.json()["items"]]

    assert await found(status="cancelled") == [cancelled["id"]]
    assert await found(number=pending["number"].lower()) == [pending["id"]]
    wrong = pending["number"][:-1] + ("2" if pending["number"][-1] != "2" else "3")
    mistyped = await shop.client.get("/v1/orders", params={"number": wrong}, headers=shop.support())
    assert code_of(mistyped) == (422, "validation_failed")


async def test_another_customers_number_finds_nothing(shop: Shop) -> None:
    await shop.stock_up("A")
    order = await shop.placed(("A", 1), user_id=someone())
    answer = await shop.client.get("/v1/orders", params={"number": order["number"]}, headers=shop.customer())
    assert answer.json()["items"] == []


async def test_stuck_orders_are_those_that_wait_past_their_deadline(shop: Shop) -> None:
    await shop.stock_up("A")
    stuck, confirmed = await shop.placed(("A", 1)), await shop.confirmed(("A", 1))
    await shop.make_overdue(stuck, confirmed)
    await shop.placed(("A", 1))

    answer = await shop.client.get("/v1/orders", params={"stuck": True}, headers=shop.support())

    assert [order["id"] for order in answer.json()["items"]] == [stuck["id"]]


async def test_support_sees_who_ordered_as_the_account_is_now_and_customers_do_not(shop: Shop) -> None:
    await shop.stock_up("A")
    order = await shop.placed(("A", 1))
    assert (await shop.read(order))["customer"] is None
    created = UserCreated(
        user_id=CUSTOMER, email="ada@example.com", name="Ada", phone=None, locale="en", time_zone="UTC"
    )
    expected = {"name": "Ada Lovelace", "email": "ada@example.org"}

    await shop.receive(created)
    await shop.receive(UserUpdated(**created.model_dump() | expected))

    assert (await shop.read(order))["customer"] == expected
    listed = await shop.client.get("/v1/orders", headers=shop.support())
    assert listed.json()["items"][0]["customer"] == expected
    own = await shop.client.get(f"/v1/orders/{order['id']}", headers=shop.customer())
    assert own.json()["customer"] is None
    own_list = await shop.client.get("/v1/orders", headers=shop.customer())
    assert own_list.json()["items"][0]["customer"] is None
