"""The admin routes that every service has, on this one."""

from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from services.users.subscribers import orders
from shared.events.orders import OrderShipped
from shared.ids import new_id
from shared.operations.access import Operations
from tests.shared.operations.blocked_keys import dead_letter_all
from tests.users.front_door import FrontDoor, problem

AT = "/v1/operations/users"
LONG_AGO = "2020-01-01T00:00:00Z"


@pytest.fixture
async def admin(users: FrontDoor) -> dict[str, str]:
    return await users.header_of("admin", email="admin@orderly.example")


async def store(users: FrontDoor, *, events: int) -> str:
    """An order whose first event is parked, and the others behind it; its key."""
    order_id, user_id = new_id(), new_id()

    def event(_sequence: int) -> OrderShipped:
        return OrderShipped(order_id=order_id, number="O-1", user_id=user_id, total_cents=100, currency="GBP")

    await dead_letter_all(users.sessions, event, events=events, consumer="users.orders", handlers=orders)
    return str(order_id)


async def get(users: FrontDoor, path: str, headers: dict[str, str], **params: Any) -> httpx2.Response:
    return await users.client.get(f"{AT}{path}", params=params, headers=headers)


async def post(users: FrontDoor, path: str, headers: dict[str, str], **body: Any) -> httpx2.Response:
    return await users.client.post(f"{AT}{path}", json=body, headers=headers)


async def run_operation(users: FrontDoor, operation: dict[str, Any]) -> None:
    """As its job does."""
    operations: Operations = users.app.state.operations
    await operations.sending.run(users.sessions, operation["id"])


async def send_by_hand(users: FrontDoor) -> None:
    """Move the outbox to what was sent, as the relay does."""
    async with users.sessions.begin() as session:
        await session.execute(
            sa.text("""
                WITH gone AS (DELETE FROM outbox RETURNING *)
                INSERT INTO outbox_sent
                SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date, id, event_id, topic, key, sequence, type, source,
                       dataschema, occurred_at, traceparent, tracestate, payload, shard, 0, 0, clock_timestamp()
                FROM gone
            """)
        )


async def test_parked_events_are_listed_in_pages_and_by_filters(users: FrontDoor, admin: dict[str, str]) -> None:
    key, other = await store(users, events=2), await store(users, events=1)
    first = (await get(users, "/dead-letters", admin, limit=2)).json()
    rest = (await get(users, "/dead-letters", admin, limit=2, cursor=first["next_cursor"])).json()
    assert [(event["key"], event["reason"]) for event in first["items"] + rest["items"]] == [
        (key, "rule_violated"),
        (key, "blocked"),
        (other, "rule_violated"),
    ]
    assert rest["next_cursor"] is None
    for params, count in (({"key": key}, 2), ({"reason": "blocked"}, 1), ({"type": "order.created"}, 0)):
        assert len((await get(users, "/dead-letters", admin, **params)).json()["items"]) == count


async def test_a_parked_event_is_shown_whole_and_one_that_is_not_there_is_a_problem(
    users: FrontDoor, admin: dict[str, str]
) -> None:
    key = await store(users, events=1)
    (listed,) = (await get(users, "/dead-letters", admin)).json()["items"]
    shown = (await get(users, f"/dead-letters/{listed['id']}", admin)).json()
    assert (shown["key"], shown["headers"]["ce_type"], shown["actions"]) == (key, "order.shipped", [])
    assert f'"order_id":"{key}"' in shown["payload"]
    assert problem(await get(users, "/dead-letters/999", admin)) == (404, "dead_letter_not_found")


async def test_a_dry_run_of_a_replay_says_what_a_replay_then_does(users: FrontDoor, admin: dict[str, str]) -> None:
    key = await store(users, events=3)
    planned = (await post(users, "/dead-letters/replays", admin, all=True, dry_run=True)).json()
    assert len((await get(users, "/dead-letters", admin)).json()["items"]) == 3
    done = (await post(users, "/dead-letters/replays", admin, key=key)).json()
    (plan,), (outcome,) = planned["keys"], done["keys"]
    assert (planned["dry_run"], planned["applied"], plan["dead_letters"], plan["first"]["sequence"]) == (True, 0, 3, 1)
    assert (done["applied"], outcome["key"], outcome["applied"], outcome["stopped_by"]) == (3, key, 3, None)
    caller_id = (await users.client.get("/v1/users/me", headers=admin)).json()["id"]
    shown = (await get(users, f"/dead-letters/{plan['first']['id']}", admin)).json()
    assert (shown["resolution"], [action["actor"] for action in shown["actions"]]) == ("replayed", [caller_id])


async def test_a_discard_lets_go_what_stood_behind(users: FrontDoor, admin: dict[str, str]) -> None:
    await store(users, events=3)
    (first, *_) = (await get(users, "/dead-letters", admin)).json()["items"]
    asked = {"ids": [first["id"]], "note": "a test order"}
    planned = (await post(users, "/dead-letters/discards", admin, **asked, dry_run=True)).json()
    done = (await post(users, "/dead-letters/discards", admin, **asked)).json()
    assert planned == {"dry_run": True, "dead_letters": [first], "drained": 0}
    assert done == {"dry_run": False, "dead_letters": [first], "drained": 2}
    assert (await get(users, "/dead-letters", admin)).json()["items"] == []


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/dead-letters/replays", {}, (422, "nothing_selected")),
        ("/dead-letters/discards", {"note": "because"}, (422, "nothing_selected")),
        ("/dead-letters/discards", {"note": "because", "ids": [1], "key": "k"}, (422, "nothing_selected")),
        ("/dead-letters/discards", {"note": "because", "ids": [999]}, (404, "dead_letter_not_found")),
        ("/dead-letters/discards", {"note": "", "key": "k"}, (422, "validation_failed")),
        ("/outbox/resends", {"since": "2026-11-23T10:00:00"}, (422, "validation_failed")),
        ("/republications", {"types": ["orders"]}, (422, "not_republished")),
    ],
)
async def test_what_is_not_clearly_meant_is_refused(
    users: FrontDoor, admin: dict[str, str], path: str, body: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert problem(await post(users, path, admin, **body)) == expected


async def test_only_admins_get_in(users: FrontDoor) -> None:
    support = await users.header_of("support")
    assert problem(await get(users, "/outbox", support)) == (403, "role_required")


async def test_a_resend_is_counted_begun_once_and_followed(users: FrontDoor, admin: dict[str, str]) -> None:
    await users.account()
    await send_by_hand(users)
    counted = await post(users, "/outbox/resends", admin, since=LONG_AGO, dry_run=True)
    headers = admin | {"Idempotency-Key": "once"}
    begun = await post(users, "/outbox/resends", headers, since=LONG_AGO, type=None)
    assert problem(begun) == (422, "validation_failed")
    begun = await post(users, "/outbox/resends", headers, since=LONG_AGO)
    again = await post(users, "/outbox/resends", headers, since=LONG_AGO)
    assert (counted.status_code, counted.json()) == (200, {"events": 2, "operation": None})
    assert (begun.status_code, again.status_code, again.json()) == (202, 202, begun.json())
    await run_operation(users, begun.json()["operation"])
    followed = (await users.client.get(begun.headers["Location"], headers=admin)).json()
    assert (followed["status"], followed["done"], followed["total"]) == ("done", 2, 2)
    assert "last_ids" not in followed["parameters"]
    status = (await get(users, "/outbox", admin)).json()
    assert (status["waiting"], status["leases"]) == (2, [])


async def test_a_republication_is_begun_and_followed(users: FrontDoor, admin: dict[str, str]) -> None:
    await users.account()
    begun = await post(users, "/republications", admin)
    assert (begun.status_code, begun.json()["status"], begun.json()["total"]) == (202, "running", 2)
    async with users.sessions() as session:
        (payload,) = await session.scalars(sa.text("SELECT payload FROM pgqueuer WHERE entrypoint = 'operation'"))
    assert payload.hex() == begun.json()["id"].replace("-", "")
    await run_operation(users, begun.json())
    followed = (await users.client.get(begun.headers["Location"], headers=admin)).json()
    assert (followed["status"], followed["done"]) == ("done", 2)
    assert [type_ for type_, _ in await users.events()] == ["user.updated", "user.updated"]
    elsewhere = begun.headers["Location"].removeprefix(AT).replace("republications", "outbox/resends")
    assert problem(await get(users, elsewhere, admin)) == (404, "operation_not_found")
