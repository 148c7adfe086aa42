"""Requests to the operators' routes, and to the routes that every service has."""

from functools import partial

import sqlalchemy as sa

from shared.events.contract import Event
from shared.events.orders import OrderShipped
from shared.events.users import CreditReleased
from shared.ids import new_id
from tests.access.calls import Call, call_of, plain
from tests.access.system import Account, System
from tests.harness.builders import received
from tests.shared.operations.blocked_keys import store_as_dead_letter

LONG_AGO = "2020-01-01T00:00:00Z"
CONSUMED = {"users": "orders", "orders": "users", "notifications": "orders"}
"""A topic that each service consumes."""

plain(
    "GET /openapi.json",
    "GET /asyncapi.json",
    "GET /asyncapi",
    "GET /docs",
    "GET /metrics",
    "GET /health",
    "GET /health/live",
    "GET /health/ready",
)


@call_of("GET /docs/{name}")
async def read_asset(_system: System, _owner: Account, _objects: str) -> Call:
    return Call("/docs/swagger-ui.css")


def _event(service: str) -> Event:
    if CONSUMED[service] == "users":
        return CreditReleased(user_id=new_id(), order_id=new_id(), amount_cents=100, currency="GBP")
    return OrderShipped(order_id=new_id(), number="O-1", user_id=new_id(), total_cents=100, currency="GBP")


async def dead_letter(system: System, service: str) -> tuple[int, str]:
    """Store a dead letter, and return its id and its key."""
    event, sessions = _event(service), system.sessions(service)
    consumer = f"{service}.{CONSUMED[service]}"
    await store_as_dead_letter(sessions, received(event, sequence=1), consumer=consumer)
    async with sessions() as session:
        newest = sa.text("SELECT max(id) FROM dead_letter WHERE key = :key")
        return int((await session.scalars(newest, {"key": event.key})).one()), event.key


async def read_dead_letter(system: System, _owner: Account, _objects: str, *, service: str) -> Call:
    letter_id, _ = await dead_letter(system, service)
    return Call(f"/v1/operations/{service}/dead-letters/{letter_id}")


async def replay_dead_letters(system: System, _owner: Account, _objects: str, *, service: str) -> Call:
    letter_id, _ = await dead_letter(system, service)
    return Call(f"/v1/operations/{service}/dead-letters/replays", {"id": letter_id})


async def discard_dead_letters(system: System, _owner: Account, _objects: str, *, service: str) -> Call:
    letter_id, _ = await dead_letter(system, service)
    return Call(f"/v1/operations/{service}/dead-letters/discards", {"ids": [letter_id], "note": "test"})


async def read_position(system: System, _owner: Account, _objects: str, *, service: str) -> Call:
    _, key = await dead_letter(system, service)
    consumer = f"{service}.{CONSUMED[service]}"
    return Call(f"/v1/operations/{service}/positions", params={"consumer": consumer, "key": key})


async def reset_position(system: System, _owner: Account, _objects: str, *, service: str) -> Call:
    _, key = await dead_letter(system, service)
    consumer = f"{service}.{CONSUMED[service]}"
    body = {"consumer": consumer, "key": key, "to": 1, "note": "test"}
    return Call(f"/v1/operations/{service}/positions/resets", body)


async def resend_events(_system: System, _owner: Account, _objects: str, *, service: str) -> Call:
    return Call(f"/v1/operations/{service}/outbox/resends", {"since": LONG_AGO})


async def read_resend(system: System, _owner: Account, _objects: str, *, service: str) -> Call:
    path = f"/v1/operations/{service}/outbox/resends"
    begun = await system.send_as_admin(service, "POST", path, {"since": LONG_AGO})
    return Call(begun.headers["location"])


async def republish(_system: System, _owner: Account, _objects: str, *, service: str) -> Call:
    return Call(f"/v1/operations/{service}/republications", {})


async def read_republication(system: System, _owner: Account, _objects: str, *, service: str) -> Call:
    begun = await system.send_as_admin(service, "POST", f"/v1/operations/{service}/republications", {})
    return Call(begun.headers["location"])


async def read_event(system: System, _owner: Account, _objects: str, *, service: str) -> Call:
    await dead_letter(system, service)
    async with system.sessions(service)() as session:
        newest = sa.text("SELECT event_id FROM dead_letter WHERE id = (SELECT max(id) FROM dead_letter)")
        event_id = (await session.scalars(newest)).one()
    return Call(f"/v1/operations/{service}/events/{event_id}")


async def list_events(system: System, _owner: Account, _objects: str, *, service: str) -> Call:
    # In turn, because a list of one key is read by another index.
    params = {"key": "P1"} if system.number() % 2 else {"topic": service}
    return Call(f"/v1/operations/{service}/events", params=params)


async def read_journey_part(_system: System, owner: Account, _objects: str, *, service: str) -> Call:
    return Call(f"/v1/operations/{service}/journeys/orders/{new_id()}", params={"user_id": str(owner.id)})


async def act_on_jobs(system: System, _owner: Account, _objects: str, *, service: str, action: str) -> Call:
    async with system.sessions(service).begin() as session:
        held = sa.text("INSERT INTO pgqueuer (priority, status, entrypoint) VALUES (0, 'failed', 'a') RETURNING id")
        job_id = (await session.scalars(held)).one()
    return Call(f"/v1/operations/{service}/jobs/{action}", {"ids": [job_id], "note": "test"})


for _service in CONSUMED:
    _at = f"/v1/operations/{_service}"
    plain(f"GET {_at}/dead-letters", f"GET {_at}/outbox", f"GET {_at}/actions", f"GET {_at}/blocked-keys")
    plain(f"GET {_at}/jobs", f"GET {_at}/schedules")
    for _action in ("retries", "discards"):
        call_of(f"POST {_at}/jobs/{_action}")(partial(act_on_jobs, service=_service, action=_action))
    for _route, _builder in {
        f"GET {_at}/dead-letters/{{dead_letter_id}}": read_dead_letter,
        f"POST {_at}/dead-letters/replays": replay_dead_letters,
        f"POST {_at}/dead-letters/discards": discard_dead_letters,
        f"GET {_at}/positions": read_position,
        f"POST {_at}/positions/resets": reset_position,
        f"POST {_at}/outbox/resends": resend_events,
        f"GET {_at}/outbox/resends/{{operation_id}}": read_resend,
        f"GET {_at}/events": list_events,
        f"GET {_at}/events/{{event_id}}": read_event,
        f"GET {_at}/journeys/orders/{{order_id}}": read_journey_part,
    }.items():
        call_of(_route)(partial(_builder, service=_service))
    if _service != "notifications":  # it has no aggregates to republish
        call_of(f"POST {_at}/republications")(partial(republish, service=_service))
        call_of(f"GET {_at}/republications/{{operation_id}}")(partial(read_republication, service=_service))
