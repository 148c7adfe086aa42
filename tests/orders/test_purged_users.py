"""A purged user: the customer goes, the orders stay."""

from shared.events.users import UserCreated, UserPurged
from tests.harness.personal_keys import profile_event
from tests.orders.service import CUSTOMER, OrdersService


async def test_the_customer_of_a_purged_user_is_deleted_and_the_orders_stay(service: OrdersService) -> None:
    await service.add_product("A")
    order = await service.place_order(("A", 1))
    await service.apply(profile_event(UserCreated, CUSTOMER))
    assert (await service.read_order(order))["customer"] is not None

    await service.apply(UserPurged(user_id=CUSTOMER))

    found = await service.read_order(order)
    assert (found["number"], found["customer"]) == (order["number"], None)
