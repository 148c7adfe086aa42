"""The admin routes that every service has, called on the users service."""

from typing import Any

import httpx2
import pytest
import sqlalchemy as sa

from services.users.subscribers import orders
from shared.events.orders import OrderShipped
from shared.ids import new_id
from shared.operations.dependencies import Operations
from tests.harness.outbox import send_without_kafka
from tests.harness.problems import problem
from tests.shared.operations.blocked_keys import block_key
from tests.users.service import UsersService

AT = "/v1/operations/users"
LONG_AGO = "2020-01-01T00:00:00Z"


@pytest.fixture
async def admin(service: UsersService) -> dict[str, str]:
    return await service.header_with("admin", email="admin@orderly.example")


async def blocked_key(service: UsersService, *, events: int) -> str:
    """Store dead letters of one key, the first with an error and the others blocked by it, and return the key."""
    order_id, user_id = new_id(), new_id()

    def event(_sequence: int) -> OrderShipped:
        return OrderShipped(order_id=order_id, number="O-1", user_id=user_id, total_cents=100, currency="GBP")

    await block_key(service.sessions, event, events=events, consumer="users.orders", handlers=orders)
    return str(order_id)


async def get(service: UsersService, path: str, headers: dict[str, str], **params: Any) -> httpx2.Response:
    return await service.http.get(f"{AT}{path}", params=params, headers=headers)


async def post(service: UsersService, path: str, headers: dict[str, str], **body: Any) -> httpx2.Response:
    return await service.http.post(f"{AT}{path}", json=body, headers=headers)


async def run_operation(service: UsersService, operation: dict[str, Any]) -> None:
    """Run an operation as its job does."""
    operations: Operations = service.app.state.operations
    await operations.sending.run(service.sessions, operation["id"])


async def test_dead_letters_are_listed_in_pages_and_by_filters(service: UsersService, admin: dict[str, str]) -> None:
    key, other = await blocked_key(service, events=2), await blocked_key(service, events=1)
    first = (await get(service, "/dead-letters", admin, limit=2)).json()
    rest = (await get(service, "/dead-letters", admin, limit=2, cursor=first["next_cursor"])).json()
    assert [(event["key"], event["reason"]) for event in first["items"] + rest["items"]] == [
        (key, "rule_violated"),
        (key, "blocked"),
        (other, "rule_violated"),
    ]
    assert rest["next_cursor"] is None
    for params, count in (({"key": key}, 2), ({"reason": "blocked"}, 1), ({"type": "order.created"}, 0)):
        assert len((await get(service, "/dead-letters", admin, **params)).json()["items"]) == count


async def test_one_dead_letter_is_shown_with_its_payload(service: UsersService, admin: dict[str, str]) -> None:
    key = await blocked_key(service, events=1)
    (listed,) = (await get(service, "/dead-letters", admin)).json()["items"]
    shown = (await get(service, f"/dead-letters/{listed['id']}", admin)).json()
    assert (shown["key"], shown["headers"]["ce_type"], shown["actions"]) == (key, "order.shipped", [])
    assert f'"order_id":"{key}"' in shown["payload"]
    assert problem(await get(service, "/dead-letters/999", admin)) == (404, "dead_letter_not_found")


async def test_a_dry_run_of_a_replay_returns_what_it_would_replay(service: UsersService, admin: dict[str, str]) -> None:
    key = await blocked_key(service, events=3)
    planned = (await post(service, "/dead-letters/replays", admin, all=True, dry_run=True)).json()
    assert len((await get(service, "/dead-letters", admin)).json()["items"]) == 3
    done = (await post(service, "/dead-letters/replays", admin, key=key)).json()
    (plan,), (outcome,) = planned["keys"], done["keys"]
    assert (planned["dry_run"], planned["applied"], plan["dead_letters"], plan["first"]["sequence"]) == (True, 0, 3, 1)
    assert (done["applied"], outcome["key"], outcome["applied"], outcome["stopped_by"]) == (3, key, 3, None)
    caller_id = (await service.http.get("/v1/users/me", headers=admin)).json()["id"]
    shown = (await get(service, f"/dead-letters/{plan['first']['id']}", admin)).json()
    assert (shown["resolution"], [action["actor"] for action in shown["actions"]]) == ("replayed", [caller_id])


async def test_a_discard_applies_the_events_that_it_had_blocked(service: UsersService, admin: dict[str, str]) -> None:
    await blocked_key(service, events=3)
    (first, *_) = (await get(service, "/dead-letters", admin)).json()["items"]
    body = {"ids": [first["id"]], "note": "a test order"}
    planned = (await post(service, "/dead-letters/discards", admin, **body, dry_run=True)).json()
    done = (await post(service, "/dead-letters/discards", admin, **body)).json()
    assert planned == {"dry_run": True, "dead_letters": [first], "drained": 0}
    assert done == {"dry_run": False, "dead_letters": [first], "drained": 2}
    assert (await get(service, "/dead-letters", admin)).json()["items"] == []


async def test_a_position_is_read_and_reset(service: UsersService, admin: dict[str, str]) -> None:
    place = {"consumer": "users.orders", "key": await blocked_key(service, events=2)}
    shown = (await get(service, "/positions", admin, **place)).json()
    assert shown == {**place, "topic": "orders", "sequence": 2, "dead_letters": 2, "actions": []}
    reset = (await post(service, "/positions/resets", admin, **place, to=7, note="forged")).json()
    caller_id = (await service.http.get("/v1/users/me", headers=admin)).json()["id"]
    (action,) = reset["actions"]
    assert (reset["sequence"], action["actor"], action["before"], action["after"]) == (7, caller_id, 2, 7)
    assert problem(await get(service, "/positions", admin, consumer="users.orders", key="k")) == (
        404,
        "position_not_found",
    )


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
        ("/positions/resets", {"consumer": "x.y", "key": "k", "note": "because"}, (404, "position_not_found")),
        ("/positions/resets", {"consumer": "users.orders", "key": "k"}, (422, "validation_failed")),
    ],
)
async def test_an_ambiguous_or_invalid_request_is_rejected(
    service: UsersService, admin: dict[str, str], path: str, body: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert problem(await post(service, path, admin, **body)) == expected


async def test_support_can_not_call_admin_routes(service: UsersService) -> None:
    support = await service.header_with("support")
    assert problem(await get(service, "/outbox", support)) == (403, "role_required")


async def test_a_resend_is_counted_and_begun_once(service: UsersService, admin: dict[str, str]) -> None:
    await service.create_account()
    await send_without_kafka(service.sessions)
    counted = await post(service, "/outbox/resends", admin, since=LONG_AGO, dry_run=True)
    headers = admin | {"Idempotency-Key": "once"}
    begun = await post(service, "/outbox/resends", headers, since=LONG_AGO, type=None)
    assert problem(begun) == (422, "validation_failed")
    begun = await post(service, "/outbox/resends", headers, since=LONG_AGO)
    again = await post(service, "/outbox/resends", headers, since=LONG_AGO)
    assert (counted.status_code, counted.json()) == (
        200,
        {"events": 2, "is_complete": True, "operation": None},
    )
    assert (begun.status_code, again.status_code, again.json()) == (202, 202, begun.json())
    await run_operation(service, begun.json()["operation"])
    followed = (await service.http.get(begun.headers["Location"], headers=admin)).json()
    assert (followed["status"], followed["done"], followed["total"]) == ("done", 2, 2)
    assert "last_ids" not in followed["parameters"]
    status = (await get(service, "/outbox", admin)).json()
    assert (status["waiting"], status["leases"]) == (2, [])


async def test_a_republication_is_begun_once_and_completed(service: UsersService, admin: dict[str, str]) -> None:
    await service.create_account()
    begun = await post(service, "/republications", admin)
    assert (begun.status_code, begun.json()["status"], begun.json()["total"]) == (202, "running", 2)
    async with service.sessions() as session:
        (payload,) = await session.scalars(sa.text("SELECT payload FROM pgqueuer WHERE entrypoint = 'operation'"))
    assert payload.hex() == begun.json()["id"].replace("-", "")
    await run_operation(service, begun.json())
    followed = (await service.http.get(begun.headers["Location"], headers=admin)).json()
    assert (followed["status"], followed["done"]) == ("done", 2)
    assert [type_ for type_, _ in await service.events()] == ["user.updated", "user.updated"]
    elsewhere = begun.headers["Location"].removeprefix(AT).replace("republications", "outbox/resends")
    assert problem(await get(service, elsewhere, admin)) == (404, "operation_not_found")
