"""Operators look up events, jobs, stuck orders and who did what, over HTTP and by command."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from shared.events.users import CreditReserved
from shared.ids import new_id
from tests.harness.builders import received
from tests.harness.tool import Tool
from tests.orders.service import CUSTOMER, OrdersService
from tests.shared.operations.blocked_keys import store_as_dead_letter

AT = "/v1/operations/orders"
_SEND_ALL = sa.text("""
    WITH sent AS (DELETE FROM outbox WHERE topic = 'orders' RETURNING *)
    INSERT INTO outbox_sent SELECT CURRENT_DATE, id, event_id, topic, key, sequence, type, source, dataschema,
        occurred_at, traceparent, tracestate, payload, shard, 3, id, clock_timestamp() FROM sent
""")
_HOLD = sa.text("""
    WITH held AS (
        INSERT INTO pgqueuer (priority, status, entrypoint, attempts, headers)
        VALUES (0, 'failed', 'erase_customer', 4,
                '{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}')
        RETURNING id
    )
    INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint, traceback)
    SELECT id, 'failed', 0, 'erase_customer', '{"exception_message": "CheckViolationError"}' FROM held RETURNING job_id
""")


async def get(service: OrdersService, path: str, **params: Any) -> Any:
    response = await service.http.get(f"{AT}{path}", params=params, headers=service.support())
    assert response.status_code == 200, response.text
    return response.json()


async def execute(service: OrdersService, statement: sa.TextClause, **parameters: Any) -> None:
    async with service.sessions.begin() as session:
        await session.execute(statement, parameters)


async def held_job(service: OrdersService) -> int:
    async with service.sessions.begin() as session:
        return int((await session.scalars(_HOLD)).one())


def _waiting(order: dict[str, Any]) -> dict[str, Any]:
    """Return the event of a new order as it waits in the outbox, without what the test cannot know."""
    return {
        "state": "waiting",
        "type": "order.created",
        "topic": "orders",
        "key": order["id"],
        "sequence": 1,
        "sent_at": None,
        "partition": None,
        "offset": None,
        "data": {
            "order_id": order["id"],
            "number": order["number"],
            "user_id": str(CUSTOMER),
            "total_cents": 250,
            "currency": "GBP",
            "deadline": order["deadline"],
        },
        "applied_by": [],
        "dead_letter_ids": [],
    }


async def test_an_event_is_found_wherever_it_is(service: OrdersService, tool: Tool) -> None:
    await service.add_product("TEA")
    order = await service.place_order(("TEA", 1))
    (waiting,) = (await get(service, "/events", key=order["id"]))["items"]
    await execute(service, _SEND_ALL)
    sent = await get(service, f"/events/{waiting['event_id']}")
    event = received(CreditReserved(user_id=CUSTOMER, order_id=new_id(), amount_cents=1, currency="GBP"), sequence=1)
    assert event.context is not None
    await store_as_dead_letter(service.sessions, event, consumer="orders.users")
    dead = await get(service, f"/events/{event.context.event_id}")
    await service.apply(CreditReserved(user_id=new_id(), order_id=new_id(), amount_cents=1, currency="GBP"))
    async with service.sessions() as session:
        applied_id = await session.scalar(sa.text("SELECT event_id FROM inbox ORDER BY event_id DESC LIMIT 1"))
    applied = await get(service, f"/events/{applied_id}")
    status, shown = await tool.json("events", "show", waiting["event_id"])
    unknown = await service.http.get(f"{AT}/events/{new_id()}", headers=service.support())

    assert waiting == _waiting(order) | {name: waiting[name] for name in ("event_id", "recorded_at", "trace_id")}
    assert waiting["trace_id"] is not None
    places = {name: sent[name] for name in ("state", "sent_at", "partition", "offset")}
    assert sent == waiting | places
    assert (sent["state"], sent["partition"], sent["offset"] > 0) == ("sent", 3, True)
    assert (status, shown) == (0, sent)
    assert (dead["state"], dead["type"], dead["key"], dead["applied_by"]) == (
        "dead_letter",
        "user.credit_reserved",
        str(CUSTOMER),
        [],
    )
    assert (applied["state"], applied["type"], applied["applied_by"]) == ("applied", None, ["orders.users"])
    assert (unknown.status_code, unknown.json()["code"]) == (404, "event_not_found")


async def test_the_newest_events_come_first_page_by_page(service: OrdersService) -> None:
    await service.add_product("TEA")
    orders = [await service.place_order(("TEA", 1)) for _ in range(3)]
    await execute(service, _SEND_ALL)
    orders += [await service.place_order(("TEA", 1)) for _ in range(2)]
    newest_first = [order["id"] for order in reversed(orders)]

    async def all_keys(**params: Any) -> list[str]:
        keys, cursor = [], None
        while True:
            page = await get(service, "/events", limit=2, **params, **({"cursor": cursor} if cursor else {}))
            keys += [event["key"] for event in page["items"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return keys

    assert await all_keys(topic="orders") == newest_first
    assert await all_keys(type="order.created") == newest_first
    assert sorted(await all_keys()) == sorted([*newest_first, "TEA"])
    assert await all_keys(key=orders[0]["id"]) == [orders[0]["id"]]
    assert await all_keys(key=orders[4]["id"], topic="orders") == [orders[4]["id"]]
    assert await all_keys(key=orders[4]["id"], topic="products") == []
    refused = await service.http.get(f"{AT}/events", params={"cursor": "nonsense"}, headers=service.support())
    assert (refused.status_code, refused.json()["code"]) == (422, "cursor_invalid")


async def test_held_jobs_are_retried_and_discarded_on_record(service: OrdersService, tool: Tool) -> None:
    first, second = await held_job(service), await held_job(service)
    (job, _) = (await get(service, "/jobs"))["items"]
    by_support = await service.http.post(
        f"{AT}/jobs/retries", json={"ids": [first], "note": "x"}, headers=service.support()
    )
    missing = await service.http.post(
        f"{AT}/jobs/retries", json={"ids": [first, 99], "note": "corrected"}, headers=service.admin()
    )
    retried = await service.http.post(
        f"{AT}/jobs/retries", json={"ids": [first], "note": "corrected"}, headers=service.admin()
    )
    discarded = await tool.json("jobs", "discard", str(second), "--note", "of no use", "--actor", "ada@ops-1")
    async with service.sessions() as session:
        left = (await session.execute(sa.text("SELECT id, status, attempts FROM pgqueuer"))).all()
    pages = await get(service, "/actions", limit=1)
    rest = await get(service, "/actions", limit=5, cursor=pages["next_cursor"])
    status, listed = await tool.json("actions", "list")

    assert job == {
        "id": first,
        "task": "erase_customer",
        "status": "failed",
        "retries": 4,
        "created_at": job["created_at"],
        "due_at": job["due_at"],
        "updated_at": job["updated_at"],
        "error": "CheckViolationError",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "reason": "It failed 5 times and is held.",
        "advice": {
            "text": "Correct the cause of its error, then retry it.",
            "command": f'python -m services.orders jobs retry {first} --note "..."',
            "route": "POST /v1/operations/orders/jobs/retries",
            "runbook": "docs/runbooks/stuck-orders.md",
        },
    }
    assert [response.status_code for response in (by_support, missing, retried)] == [403, 404, 200]
    assert (retried.json(), discarded) == ({"jobs": 1}, (0, {"jobs": 1}))
    assert left == [(first, "queued", 0)]
    actions = [*pages["items"], *rest["items"]]
    known = ("subject", "subject_id", "action", "outcome", "note")
    assert [tuple(action[name] for name in known) for action in actions] == [
        ("job", str(second), "discard", None, "of no use"),
        ("job", str(first), "retry", None, "corrected"),
        ("streams", "0", "recover", None, "the first one"),
    ]
    assert (status, listed["items"], rest["next_cursor"]) == (0, actions, None)


async def test_stuck_orders_are_told_with_their_causes(service: OrdersService) -> None:
    await service.add_product("TEA")
    users = [new_id() for _ in range(4)]
    orders = [await service.place_order(("TEA", 1), user_id=user_id) for user_id in users]
    young = await get(service, "/stuck")
    old = "UPDATE customer_order SET created_at = created_at - interval '1 minute'"
    await execute(service, sa.text(old))
    await execute(service, sa.text("DELETE FROM outbox WHERE key <> :key"), key=orders[0]["id"])
    event = CreditReserved(user_id=users[1], order_id=UUID(orders[1]["id"]), amount_cents=1, currency="GBP")
    letter = received(event, sequence=1)
    await store_as_dead_letter(service.sessions, letter, consumer="orders.users", error="credit_reply_mismatched")
    await service.make_overdue(orders[2])
    stuck = await get(service, "/stuck", limit=3)

    assert young["items"] == []
    known = ("order_id", "is_overdue", "cause")
    assert [tuple(order[name] for name in known) for order in stuck["items"]] == [
        (orders[0]["id"], False, "relay_away"),
        (orders[1]["id"], False, "dead_letter"),
        (orders[2]["id"], True, "overdue"),
    ]
    assert "credit_reply_mismatched" in stuck["items"][1]["reason"]
    rest = await get(service, "/stuck", cursor=stuck["next_cursor"])
    assert [order["cause"] for order in rest["items"]] == ["waits_for_credit"]
