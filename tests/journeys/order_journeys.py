"""The journey of an order in the running system: its whole timeline, its verdict, the command, and a service away."""

from typing import Any

import orjson

from tests.harness.forked_commands import run_forked
from tests.harness.waiting import until
from tests.journeys.masking import masked
from tests.journeys.processes import Customer, RunningServices


async def settled_journey(staff: Customer, order: str) -> dict[str, Any]:
    """Wait until nothing of an order is under way, and return its journey."""
    found: dict[str, Any] = {}

    async def is_settled() -> bool:
        nonlocal found
        found = await staff.request("GET", "orders", f"/v1/orders/{order}/journey")
        return found["verdict"]["state"] == "done" and all(
            entry["details"]["state"] == "sent" for entry in found["entries"] if entry["kind"] == "event"
        )

    await until(is_settled, what="the order is done", poll_seconds=0.2)
    return found


async def check_journeys(services: RunningServices, staff: Customer, *, confirmed: str, rejected: str) -> None:
    """Check the journeys of a confirmed and a rejected order."""
    journey = await settled_journey(staff, confirmed)
    entries = journey["entries"]
    number = journey["number"]
    kinds = [(entry["kind"], _what(entry)) for entry in entries]
    assert sorted(kinds) == sorted(
        [
            ("request", ""),
            ("order", "pending"),
            ("event", "order.created: users.orders applied"),
            ("credit", "reserved 60000 GBP"),
            ("event", "user.credit_reserved: orders.users applied"),
            ("order", "confirmed"),
            ("event", "order.confirmed: notifications.orders applied"),
            ("notification", f"Order {number} is confirmed"),
            ("delivery", "in_app sent"),
            ("delivery", "email sent"),
            ("mail", f"Order {number} is confirmed"),
            ("event", "notification.sent: "),
            ("event", "notification.sent: "),
        ]
    )
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)
    assert {entry["trace_id"] for entry in entries} == {journey["trace_id"]}
    assert masked(journey["verdict"], {}) == {
        "state": "done",
        "cause": "completed",
        "reason": "The order is confirmed, and the customer was told.",
        "service": None,
        "event_id": None,
        "since": None,
        "advice": None,
    }
    assert [(part["service"], part["state"]) for part in journey["services"]] == [
        ("orders", "complete"),
        ("users", "complete"),
        ("notifications", "complete"),
    ]
    events = {entry["details"]["type"]: entry for entry in entries if entry["kind"] == "event"}
    assert all(event["details"]["offset"] is not None for event in events.values())
    for reference in (number, *(events[type_]["event_id"] for type_ in ("order.created", "user.credit_reserved"))):
        again = await staff.request("GET", "orders", f"/v1/orders/{reference}/journey")
        assert again["order_id"] == confirmed, reference
    assert (await settled_journey(staff, rejected))["verdict"]["cause"] == "credit_refused"
    await _check_command(services, staff, number, journey)


async def check_without_notifications(services: RunningServices, staff: Customer, order: str) -> None:
    """Check that a killed service makes its part unavailable, and the journey is told all the same."""
    services.kill("notifications")
    journey = await staff.request("GET", "orders", f"/v1/orders/{order}/journey")
    states = {part["service"]: (part["state"], part["reason"]) for part in journey["services"]}
    assert states == {
        "orders": ("complete", None),
        "users": ("complete", None),
        "notifications": ("unavailable", "unreachable"),
    }
    assert journey["verdict"]["cause"] == "service_unavailable"
    await services.start("notifications")


async def _check_command(services: RunningServices, staff: Customer, number: str, journey: dict[str, Any]) -> None:
    token = staff.headers["Authorization"].removeprefix("Bearer ")
    command = ("journey", number, "--url", services.urls["orders"], "--json")
    environment = {**services.environment, "ORDERLY_TOKEN": token}
    status, out, errors = await run_forked("services.orders", *command, environment=environment)
    assert status == 0, errors
    assert orjson.loads(out)["entries"] == journey["entries"]


def _what(entry: dict[str, Any]) -> str:
    """Return what an entry says, without ids and times."""
    details = entry["details"]
    match entry["kind"]:
        case "event":
            outcomes = " ".join(f"{each['consumer']} {each['outcome']}" for each in details["consumers"])
            return f"{details['type']}: {outcomes}"
        case "order":
            return str(details["status"])
        case "credit":
            return f"{details['change']} {details['amount_cents']} {details['currency']}"
        case "delivery":
            return f"{details['channel']} {details['status']}"
        case "notification" | "mail":
            return str(details["subject"])
        case _:
            return ""
