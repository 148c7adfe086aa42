"""A customer is erased: open orders are cancelled, the others stay without what is personal, nothing comes back."""

from typing import Any

import sqlalchemy as sa
from structlog.testing import capture_logs

from services.orders.customer_erasure import BATCH_ORDERS, erase_customer
from services.orders.settings import Settings
from shared.connection_urls import dsn_of
from shared.events.users import UserCreated, UserErasureRequested, UserUpdated
from shared.ids import new_id
from tests.harness.personal_keys import profile_event
from tests.harness.remaining_data import tables_with
from tests.harness.rows import Rows
from tests.orders.service import CUSTOMER, OrdersService

MARKS = ("marked@example.org", "Marked Lovelace")


async def request(service: OrdersService) -> UserErasureRequested:
    """Apply a request of the users service, and return it."""
    event = UserErasureRequested(user_id=CUSTOMER, request_id=new_id())
    await service.apply(event)
    return event


async def run_jobs(service: OrdersService) -> None:
    """Run the erasures that are enqueued."""
    queued = "SELECT payload FROM pgqueuer WHERE entrypoint = 'erase_customer' AND status = 'queued'"
    for (payload,) in await Rows(service.sessions).of(queued):
        assert payload.decode() == str(CUSTOMER)
        await erase_customer(service.sessions, CUSTOMER)
    async with service.sessions.begin() as session:
        await session.execute(sa.text("DELETE FROM pgqueuer"))


async def answers(service: OrdersService) -> list[dict[str, Any]]:
    return [data for type_, data in await service.events("orders") if type_ == "order.customer_erased"]


def answer_to(event: UserErasureRequested) -> dict[str, Any]:
    return {"user_id": str(CUSTOMER), "request_id": str(event.request_id)}


async def known_customer(service: OrdersService) -> None:
    await service.apply(profile_event(UserCreated, CUSTOMER, email=MARKS[0], name=MARKS[1]))


async def test_open_orders_are_cancelled_and_nothing_personal_is_left(
    service: OrdersService, settings: Settings
) -> None:
    await service.add_product("A", stock=10)
    await known_customer(service)
    shipped = await service.place_confirmed_order(("A", 1))
    await service.post_action(shipped, "ship", as_=service.support(key="ship"))  # the saved response has the customer
    refund = {"amount_cents": 50, "reason": "Marked Lovelace called"}
    path = f"/v1/orders/{shipped['id']}/refunds"
    assert (await service.http.post(path, json=refund, headers=service.support())).status_code < 300
    confirmed, pending = await service.place_confirmed_order(("A", 2)), await service.place_order(("A", 3))
    dsn = dsn_of(settings.database_url)
    assert (await tables_with(dsn, MARKS)).keys() == {"customer", "idempotency_key", "order_timeline"}
    event = await request(service)

    with capture_logs() as logs:
        await run_jobs(service)

    assert await tables_with(dsn, MARKS) == {}
    assert await service.stock("A") == (9, 0)
    found = [await service.read_order(order) for order in (confirmed, pending, shipped)]
    assert [(order["status"], order["customer"]) for order in found] == [
        ("cancelled", None), ("cancelled", None), ("shipped", None),
    ]  # fmt: skip
    assert [(found[0]["timeline"][-1][name]) for name in ("actor", "reason")] == ["system", "erasure"]
    cancelled = [data["reason"] for type_, data in await service.events("orders") if type_ == "order.cancelled"]
    assert cancelled == ["erasure"] * 2
    assert await answers(service) == [answer_to(event)]
    ids = {"user_id": str(CUSTOMER), "request_id": str(event.request_id)}
    assert {"event": "customer_erased", "log_level": "info", **ids} in logs


async def test_a_late_event_about_an_erased_customer_brings_nothing_back(service: OrdersService) -> None:
    await known_customer(service)
    await request(service)
    await service.apply(profile_event(UserUpdated, CUSTOMER, email=MARKS[0], name=MARKS[1]))  # published before
    await run_jobs(service)

    await service.apply(profile_event(UserUpdated, CUSTOMER, email=MARKS[0], name=MARKS[1]))

    rows = Rows(service.sessions)
    assert [await rows.count(table) for table in ("customer", "sealed_contact", "dead_letter")] == [0, 0, 0]


async def test_each_repeated_request_is_answered_with_its_id(service: OrdersService) -> None:
    first, second = await request(service), await request(service)
    await run_jobs(service)
    third = await request(service)
    await run_jobs(service)

    # The job takes the request that is the last one when it runs.
    assert await answers(service) == [answer_to(second), answer_to(second), answer_to(third)]
    assert first != second


async def test_many_open_orders_are_cancelled_in_batches(service: OrdersService) -> None:
    await service.add_product("A", stock=1_000)
    order = await service.place_order(("A", 1))
    await service.copy_order(order, times=BATCH_ORDERS)
    await request(service)

    await run_jobs(service)

    assert await service.stock("A") == (1_000, 0)
    statuses = "SELECT status, count(*) FROM customer_order GROUP BY status"
    assert await Rows(service.sessions).of(statuses) == [("cancelled", BATCH_ORDERS + 1)]


async def test_an_order_that_is_placed_meanwhile_is_cancelled_too_or_left_to_the_users_service(
    service: OrdersService,
) -> None:
    await service.add_product("A", stock=10)
    await request(service)
    await service.place_order(("A", 1))

    await run_jobs(service)
    late = await service.place_order(("A", 1))

    assert await service.stock("A") == (10, 1)
    assert (await service.read_order(late))["status"] == "pending"  # users refuses its credit


async def test_other_customers_stay_as_they_are(service: OrdersService, settings: Settings) -> None:
    other = new_id()
    await service.add_product("A")
    await service.apply(profile_event(UserCreated, other, email=MARKS[0], name=MARKS[1]))
    kept = await service.place_order(("A", 1), user_id=other)
    assert (await service.post_order(("A", 1), user_id=other, key="kept")).status_code == 201
    await request(service)

    await run_jobs(service)

    found = await service.read_order(kept)
    assert (found["status"], found["customer"]["email"]) == ("pending", MARKS[0])
    assert (await tables_with(dsn_of(settings.database_url), MARKS)).keys() == {"customer"}
    assert await Rows(service.sessions).count("idempotency_key") == 1
