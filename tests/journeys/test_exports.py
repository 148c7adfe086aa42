"""An export of everything that the three services have of a user, requested and downloaded by HTTP."""

from typing import Any
from uuid import UUID

import asyncpg

from shared.connection_urls import dsn_of
from tests.harness.databases import as_owner
from tests.harness.mail import MailCatcher
from tests.harness.waiting import until
from tests.journeys.masking import masked
from tests.journeys.processes import PRICE_CENTS, Customer, RunningServices, broken_invariants, customer_of

PATH = "/v1/users/me/exports"
EMAIL = "ada@example.com"
TIME, ADDRESS = "<time>", "127.0.0.1"
MANY_ORDERS = 3_000
ADD_ORDERS = """
    INSERT INTO customer_order (
        id, number, user_id, status, currency, total_cents, refunded_cents, units, deadline, version, created_at,
        updated_at
    )
    SELECT uuidv7(make_interval(secs => n)), 'O-' || n, $1, 'cancelled', 'GBP', 500, 0, 2, now(), 2, now(), now()
    FROM generate_series(0, $2 - 1) AS n
"""


async def test_a_user_downloads_everything_that_the_services_have(
    services: RunningServices, smtp_catcher: MailCatcher
) -> None:
    ada = await customer_of(services, "ada")
    order = await ada.order("LAMP", 2)
    await ada.status_once_decided(order)
    await smtp_catcher.wait_for(to=ada.email, count=2, timeout_seconds=40)

    document = await _downloaded(ada)

    # Of events of two topics, either may be notified first.
    document["notifications"]["notifications"].sort(key=lambda each: each["event_type"], reverse=True)
    number = document["orders"]["orders"][0]["number"]
    names = {ada.user_id: "<ada>", order: "<order>", document["export"]["id"]: "<export>", number: "<number>"}
    assert masked(document, names) == {
        "export": {"id": "<export>", "user_id": "<ada>", "requested_at": TIME, "ready_at": TIME},
        "users": USERS,
        "orders": ORDERS,
        "notifications": NOTIFICATIONS,
    }
    mails = await smtp_catcher.wait_for(to=ada.email, count=3, timeout_seconds=40)
    assert [mail["subject"] for mail in mails].count("Your export is ready") == 1
    assert await broken_invariants(services) == []
    # Their parts are several large events.
    bob = await customer_of(services, "bob")
    assert await _exported_order_numbers(bob, services) == [f"O-{n}" for n in range(MANY_ORDERS)]
    logs = "".join((services.logs / f"{service}.log").read_text() for service in services.processes)
    assert "data_export_ready" in logs
    assert EMAIL not in logs


async def _exported_order_numbers(customer: Customer, services: RunningServices) -> list[str]:
    """Insert many orders of a customer, and return the numbers of those in an export."""
    connection = await asyncpg.connect(dsn_of(as_owner(services.environment["ORDERS_DATABASE_URL"])))
    await connection.execute(ADD_ORDERS, UUID(customer.user_id), MANY_ORDERS)
    await connection.close()
    document = await _downloaded(customer)
    return [order["number"] for order in document["orders"]["orders"]]


async def _downloaded(customer: Customer) -> Any:
    """Request an export, and return its document once it is ready."""
    export = await customer.request("POST", "users", PATH)

    async def is_ready() -> bool:
        return bool((await customer.request("GET", "users", f"{PATH}/{export['id']}"))["status"] == "ready")

    await until(is_ready, seconds=40, what="the export is ready", poll_seconds=0.1)
    return await customer.request("GET", "users", f"{PATH}/{export['id']}/content")


def _entry(kind: str, order_id: str | None, *, reserved_delta: int, limit_delta: int) -> dict[str, Any]:
    return {
        "id": "<number>",
        "kind": kind,
        "order_id": order_id,
        "reserved_delta_cents": reserved_delta,
        "used_delta_cents": 0,
        "limit_delta_cents": limit_delta,
        "reserved_cents": reserved_delta,
        "used_cents": 0,
        "limit_cents": 100_000,
        "reason": None,
        "created_at": TIME,
    }


def _security_event(kind: str, actor: str, details: dict[str, Any], *, is_hidden: bool = False) -> dict[str, Any]:
    return {
        "id": "<number>",
        "kind": kind,
        "actor": actor,
        "address": None if is_hidden else ADDRESS,
        "user_agent": None if is_hidden else "<user agent>",
        "details": details,
        "occurred_at": TIME,
    }


USERS = {
    "profile": {
        "id": "<ada>",
        "email": EMAIL,
        "name": "ada",
        "phone": None,
        "bio": None,
        "locale": "en",
        "time_zone": "UTC",
        "roles": ["customer"],
        "status": "active",
        "email_verified_at": TIME,
        "created_at": TIME,
        "updated_at": TIME,
    },
    "sign_in_methods": {"password": True, "totp": False, "passkeys": 0, "recovery_codes": 0},
    "credit": {
        "limit_cents": 100_000,
        "reserved_cents": 2 * PRICE_CENTS,
        "used_cents": 0,
        "currency": "GBP",
    },
    "passkeys": [],
    "credit_entries": [
        _entry("opened", None, reserved_delta=0, limit_delta=100_000),
        _entry("reserved", "<order>", reserved_delta=2 * PRICE_CENTS, limit_delta=0),
    ],
    "credit_reservations": [
        {
            "order_id": "<order>",
            "amount_cents": 2 * PRICE_CENTS,
            "refunded_cents": 0,
            "currency": "GBP",
            "status": "reserved",
            "reason": None,
            "created_at": TIME,
            "updated_at": TIME,
        }
    ],
    "sessions": [
        {
            "id": "<id>",
            "device": "Python",
            "address": ADDRESS,
            "user_agent": "<user agent>",
            "methods": ["pwd"],
            "authenticated_at": TIME,
            "created_at": TIME,
            "last_used_at": TIME,
            "expires_at": TIME,
            "ends_at": TIME,
            "revoked_at": None,
        }
    ],
    "known_devices": [{"id": "<id>", "created_at": TIME, "last_seen_at": TIME, "expires_at": TIME}],
    "security_events": [
        _security_event("account_created", "staff", {}, is_hidden=True),
        _security_event("signed_in", "you", {"session_id": "<id>", "methods": ["pwd"]}),
        _security_event("data_exported", "you", {"export_id": "<export>", "action": "requested"}),
    ],
    "mailed_links": [],
}
ORDERS = {
    "customer": {"email": EMAIL, "name": "ada"},
    "orders": [
        {
            "id": "<order>",
            "number": "<number>",
            "status": "confirmed",
            "currency": "GBP",
            "total_cents": 2 * PRICE_CENTS,
            "refunded_cents": 0,
            "deadline": TIME,
            "created_at": TIME,
            "updated_at": TIME,
        }
    ],
    "order_items": [
        {
            "order_id": "<order>",
            "position": 1,
            "sku": "LAMP",
            "name": "Lamp",
            "quantity": 2,
            "unit_price_cents": PRICE_CENTS,
        }
    ],
    "order_timeline": [
        {
            "order_id": "<order>",
            "at": TIME,
            "status": status,
            "actor": actor,
            "reason": None,
            "amount_cents": None,
        }
        for status, actor in (("pending", "customer"), ("confirmed", "system"))
    ],
}


def _notification(category: str, event_type: str, title: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "<id>",
        "category": category,
        "event_type": event_type,
        "title": title,
        "data": data,
        "created_at": TIME,
        "read_at": None,
        "deliveries": [
            {"channel": channel, "status": "sent", "attempts": attempts, "last_error": None, "sent_at": TIME}
            for channel, attempts in (("email", 1), ("in_app", 0))
        ],
    }


NOTIFICATIONS = {
    "recipient": {
        "email": EMAIL,
        "name": "ada",
        "locale": "en",
        "time_zone": "UTC",
        "email_verified": True,
        "updated_at": TIME,
    },
    "notifications": [
        _notification("account", "user.created", "Welcome to Orderly", {}),
        _notification(
            "orders",
            "order.confirmed",
            "Order <number> is confirmed",
            {
                "order_id": "<order>",
                "number": "<number>",
                "total_cents": 2 * PRICE_CENTS,
                "currency": "GBP",
                "lines": [{"sku": "LAMP", "name": "Lamp", "quantity": 2, "unit_price_cents": PRICE_CENTS}],
                "more_lines": 0,
            },
        ),
    ],
}
