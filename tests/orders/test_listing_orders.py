"""GET /v1/orders: order, pages and filters."""

from uuid import uuid4

from shared.events.users import UserCreated, UserUpdated
from tests.harness.personal_keys import profile_event
from tests.harness.problems import problem
from tests.orders.service import CUSTOMER, OrdersService


async def test_customers_list_their_own_orders_newest_first_in_pages(service: OrdersService) -> None:
    await service.add_product("A")
    placed = [(await service.place_order(("A", 1)))["id"] for _ in range(3)]
    await service.place_order(("A", 1), user_id=uuid4())

    first = await service.http.get("/v1/orders", params={"limit": 2}, headers=service.customer())
    second = await service.http.get(
        "/v1/orders", params={"limit": 2, "cursor": first.json()["next_cursor"]}, headers=service.customer()
    )

    pages = [[order["id"] for order in page.json()["items"]] for page in (first, second)]
    assert pages == [[placed[2], placed[1]], [placed[0]]]
    assert second.json()["next_cursor"] is None


async def test_support_lists_all_orders_or_those_of_one_user(service: OrdersService) -> None:
    await service.add_product("A")
    first = await service.place_order(("A", 1))
    other_user = uuid4()
    other = await service.place_order(("A", 1), user_id=other_user)

    all_orders = await service.http.get("/v1/orders", headers=service.support())
    of_one_user = await service.http.get("/v1/orders", params={"user_id": str(other_user)}, headers=service.support())
    forbidden = await service.http.get("/v1/orders", params={"user_id": str(other_user)}, headers=service.customer())
    own = await service.http.get("/v1/orders", params={"user_id": str(CUSTOMER)}, headers=service.customer())

    assert [order["id"] for order in all_orders.json()["items"]] == [other["id"], first["id"]]
    assert [order["id"] for order in of_one_user.json()["items"]] == [other["id"]]
    assert problem(forbidden) == (403, "role_required")
    assert [order["id"] for order in own.json()["items"]] == [first["id"]]


async def test_orders_are_found_by_status_and_number(service: OrdersService) -> None:
    await service.add_product("A")
    pending = await service.place_order(("A", 1))
    cancelled = await service.place_order(("A", 1))
    await service.post_action(cancelled, "cancel", as_=service.customer())

    async def found(**params: str) -> list[str]:
        response = await service.http.get("/v1/orders", params=params, headers=service.support())
        return [order["id"] for order in response.json()["items"]]

    assert await found(status="cancelled") == [cancelled["id"]]
    assert await found(number=pending["number"].lower()) == [pending["id"]]
    wrong = pending["number"][:-1] + ("2" if pending["number"][-1] != "2" else "3")
    mistyped = await service.http.get("/v1/orders", params={"number": wrong}, headers=service.support())
    assert problem(mistyped) == (422, "order_number_mistyped")


async def test_the_number_of_another_customer_finds_nothing(service: OrdersService) -> None:
    await service.add_product("A")
    order = await service.place_order(("A", 1), user_id=uuid4())
    response = await service.http.get("/v1/orders", params={"number": order["number"]}, headers=service.customer())
    assert response.json()["items"] == []


async def test_stuck_orders_are_pending_past_their_deadline(service: OrdersService) -> None:
    await service.add_product("A")
    stuck, confirmed = await service.place_order(("A", 1)), await service.place_confirmed_order(("A", 1))
    await service.make_overdue(stuck, confirmed)
    await service.place_order(("A", 1))

    response = await service.http.get("/v1/orders", params={"stuck": True}, headers=service.support())

    assert [order["id"] for order in response.json()["items"]] == [stuck["id"]]


async def test_only_support_sees_the_customer_as_the_account_is_now(service: OrdersService) -> None:
    await service.add_product("A")
    order = await service.place_order(("A", 1))
    assert (await service.read_order(order))["customer"] is None
    expected = {"name": "Ada Lovelace", "email": "ada@example.org"}

    await service.apply(profile_event(UserCreated, CUSTOMER, email="ada@example.com", name="Ada"))
    await service.apply(profile_event(UserUpdated, CUSTOMER, email="ada@example.org", name="Ada Lovelace"))

    assert (await service.read_order(order))["customer"] == expected
    listed = await service.http.get("/v1/orders", headers=service.support())
    assert listed.json()["items"][0]["customer"] == expected
    own = await service.http.get(f"/v1/orders/{order['id']}", headers=service.customer())
    assert own.json()["customer"] is None
    own_list = await service.http.get("/v1/orders", headers=service.customer())
    assert own_list.json()["items"][0]["customer"] is None
