"""Exports: the service answers a request with what it has of the user, in sealed parts below the limit."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from services.orders.jobs import order_jobs
from shared.data_exports import MAX_PART_BYTES, MAX_TRIES, TASK
from shared.events.exported_data import ExportedData, OrdersExport
from shared.events.users import ExportRequested, UserCreated
from shared.ids import new_id
from shared.personal_data import unseal
from tests.harness.personal_keys import StoredKeys, key_of, profile_event
from tests.harness.rows import Rows
from tests.orders.service import CUSTOMER, OrdersService

MANY = 3_000
_ADD_PRODUCT = """
    INSERT INTO product (sku, name, description, price_cents, currency, stock, reserved, active, version)
    VALUES ('LAMP', 'Lämp', '', 250, 'GBP', 10, 0, true, 1)
"""
_ADD_ORDERS = """
    INSERT INTO customer_order (
        id, number, user_id, status, currency, total_cents, refunded_cents, units, deadline, version, created_at,
        updated_at
    )
    SELECT uuidv7(make_interval(secs => n)), 'O-' || n, :user_id, 'delivered', 'GBP', 500, 0, 2, now(), 2, now(), now()
    FROM generate_series(1, CAST(:orders AS integer)) AS n
"""
_ADD_ITEMS = """
    INSERT INTO order_item (order_id, sku, position, name, unit_price_cents, quantity)
    SELECT id, 'LAMP', 1, 'Lämp', 250, 2 FROM customer_order
"""
_ADD_TIMELINES = """
    INSERT INTO order_timeline (order_id, at, status, actor, actor_id)
    SELECT id, created_at, 'pending', 'customer', user_id FROM customer_order
    UNION ALL SELECT id, created_at, 'delivered', 'support', gen_random_uuid() FROM customer_order
"""


def requested(request_id: UUID | None = None, *, user_id: UUID = CUSTOMER) -> ExportRequested:
    return ExportRequested(user_id=user_id, request_id=request_id or new_id())


async def run_jobs(service: OrdersService, keys: StoredKeys) -> None:
    """Run the queued jobs of exports once."""
    task = order_jobs(keys=keys.personal_keys())._tasks[TASK].task
    async with service.sessions.begin() as session:
        taken = sa.text("DELETE FROM pgqueuer WHERE entrypoint = :name RETURNING payload")
        payloads = list(await session.scalars(taken, {"name": TASK}))
    for payload in payloads:
        await task(service.sessions, payload)


async def exported(service: OrdersService) -> list[dict[str, Any]]:
    """Return the data of the events of exports, in order."""
    return [data for type_, data in await service.events("orders") if type_ == "order.customer_exported"]


def opened(event: Mapping[str, Any]) -> ExportedData:
    return unseal(event["personal"], key=key_of(UUID(event["user_id"])), model=ExportedData)


async def add_many_orders(service: OrdersService) -> None:
    async with service.sessions.begin() as session:
        for statement in (_ADD_PRODUCT, _ADD_ORDERS, _ADD_ITEMS, _ADD_TIMELINES):
            parameters = {"user_id": CUSTOMER, "orders": MANY} if ":orders" in statement else {}
            await session.execute(sa.text(statement), parameters)


def expected_lists(order: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is exported of a pending order of two units of the product A."""
    return {
        "orders": [
            {
                "id": order["id"],
                "number": order["number"],
                "status": "pending",
                "currency": "GBP",
                "total_cents": 500,
                "refunded_cents": 0,
                "deadline": order["deadline"],
                "created_at": order["created_at"],
                "updated_at": order["updated_at"],
            }
        ],
        "order_items": [
            {
                "order_id": order["id"],
                "position": 1,
                "sku": "A",
                "name": "Product A",
                "quantity": 2,
                "unit_price_cents": 250,
            }
        ],
        "order_timeline": [
            {
                "order_id": order["id"],
                "at": order["created_at"],
                "status": "pending",
                "actor": "customer",
                "reason": None,
                "amount_cents": None,
            }
        ],
    }


async def test_a_request_is_answered_with_the_customer_and_the_orders(service: OrdersService) -> None:
    await service.add_product("A")
    order = await service.place_order(("A", 2))
    await service.place_order(("A", 1), user_id=new_id())
    await service.apply(profile_event(UserCreated, CUSTOMER))
    request = requested()

    await service.apply(request)
    await run_jobs(service, StoredKeys())

    (event,) = await exported(service)
    assert {name: value for name, value in event.items() if name not in {"personal", "attempt_id"}} == {
        "user_id": str(CUSTOMER),
        "request_id": str(request.request_id),
        "part": 1,
        "parts": 1,
    }
    part = opened(event)
    assert part.facts == {"customer": {"email": "ada@example.org", "name": "Ada"}}
    assert part.lists == expected_lists(order)
    OrdersExport.model_validate({**part.facts, **part.lists})


async def test_a_user_without_orders_gets_an_answer_too(service: OrdersService) -> None:
    await service.apply(requested())
    await run_jobs(service, StoredKeys())

    (event,) = await exported(service)
    assert opened(event) == ExportedData(
        facts={"customer": None}, lists={"orders": [], "order_items": [], "order_timeline": []}
    )


async def test_many_orders_come_in_several_parts_below_the_limit(service: OrdersService) -> None:
    await add_many_orders(service)

    await service.apply(requested())
    await run_jobs(service, StoredKeys())

    events = await exported(service)
    assert [(each["part"], each["parts"]) for each in events] == [(n, len(events)) for n in range(1, len(events) + 1)]
    assert len({each["attempt_id"] for each in events}) == 1
    parts = [opened(event) for event in events]
    sizes = [len(part.model_dump_json().encode()) for part in parts]
    assert max(sizes) <= MAX_PART_BYTES
    assert min(sizes[:-1]) > MAX_PART_BYTES * 0.99
    joined: dict[str, list[Any]] = {}
    for part in parts:
        for name, items in part.lists.items():
            joined.setdefault(name, []).extend(items)
    assert {name: len(items) for name, items in joined.items()} == {
        "orders": MANY,
        "order_items": MANY,
        "order_timeline": 2 * MANY,
    }
    assert [order["id"] for order in joined["orders"]] == sorted({item["order_id"] for item in joined["order_items"]})


async def test_a_repeated_request_is_answered_again_with_another_attempt(service: OrdersService) -> None:
    request = requested()

    await service.apply(request, request)
    await run_jobs(service, StoredKeys())

    first, second = await exported(service)
    assert first["attempt_id"] != second["attempt_id"]
    assert (first["request_id"], opened(first)) == (second["request_id"], opened(second))


@pytest.mark.parametrize("is_away", [False, True])
async def test_an_erased_user_is_not_answered_and_a_missing_users_service_holds_no_job(
    service: OrdersService, *, is_away: bool
) -> None:
    keys = StoredKeys(erased={CUSTOMER}, away=is_away)
    await service.apply(requested())

    for tries in range(1, MAX_TRIES + 1):
        await run_jobs(service, keys)
        queued = await Rows(service.sessions).of("SELECT entrypoint FROM pgqueuer WHERE entrypoint = :name", name=TASK)
        assert len(queued) == (is_away and tries < MAX_TRIES)

    assert await exported(service) == []
