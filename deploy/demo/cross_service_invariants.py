"""Invariants across databases: each compares what one service has recorded with what another made of its events."""

from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

import asyncpg

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Databases: TypeAlias = Mapping[str, Connection]
"""A connection to each service's database, by service."""

HANDLED_TYPES = {
    "users": {
        "orders": ("user.created", "user.credit_refused", "user.credit_reserved", "user.updated"),
        "notifications": ("user.created", "user.updated"),
    },
    "orders": {
        "users": (
            "order.cancelled",
            "order.created",
            "order.refunded",
            "order.rejected",
            "order.shipped",
            "order.snapshot",
        ),
        "notifications": (
            "order.cancelled",
            "order.confirmed",
            "order.delivered",
            "order.refunded",
            "order.rejected",
            "order.shipped",
        ),
    },
}
"""The event types that each service handles, by topic. Each of these topics has the name of the service that produces
it. Other types move no position."""

_PRODUCED = """
    SELECT key, max(sequence) AS sequence FROM (
        SELECT topic, key, type, sequence FROM outbox UNION ALL SELECT topic, key, type, sequence FROM outbox_sent
    ) AS e
    WHERE topic = $1 AND type = ANY($2)
    GROUP BY key
"""
_CONSUMED = "SELECT key, sequence FROM inbox_sequence WHERE consumer = $1 AND topic = $2"
# Both return the credit that each order holds: the order, 'reserved' or 'used', and the amount in cents.
_CREDIT_IN_ORDERS = """
    SELECT id, CASE WHEN status IN ('pending', 'confirmed') THEN 'reserved' ELSE 'used' END,
           total_cents - refunded_cents
    FROM customer_order WHERE status NOT IN ('rejected', 'cancelled')
"""
_CREDIT_IN_USERS = """
    SELECT order_id, status, amount_cents - refunded_cents FROM credit_reservation WHERE status IN ('reserved', 'used')
"""
_TIMELINE_ENTRIES = """
    SELECT o.id::text, o.user_id,
           'order.' || CASE WHEN t.amount_cents IS NULL THEN t.status ELSE 'refunded' END
    FROM order_timeline t JOIN customer_order o ON o.id = t.order_id
    WHERE t.status <> 'pending'
"""
_ORDER_NOTIFICATIONS = "SELECT data->>'order_id', user_id, event_type FROM notification WHERE category = 'orders'"
_WELCOME_NOTIFICATIONS = "SELECT user_id FROM notification WHERE event_type = 'user.created'"


async def unconsumed_events(databases: Databases) -> list[str]:
    """Find the keys whose last event that a consumer handles it has not reached."""
    late: list[str] = []
    for topic, types_by_service in HANDLED_TYPES.items():
        for service, types in types_by_service.items():
            consumer = f"{service}.{topic}"
            rows = await databases[service].fetch(_CONSUMED, consumer, topic)
            consumed: dict[str, int] = {row["key"]: row["sequence"] for row in rows}
            produced = await databases[topic].fetch(_PRODUCED, topic, types)
            late += [
                f"{consumer} is at sequence {consumed.get(key, 0)} of {topic} {key}, "
                f"but the last one it handles is {sequence}"
                for key, sequence in produced
                if consumed.get(key, 0) != sequence
            ]
    return late


async def credit_differences(databases: Databases) -> list[str]:
    """Compare credit: open orders hold reserved credit, shipped ones used credit, all others none."""
    return _differences(
        "{1} credit of {2} cents for order {0}",
        expected=await _counted(databases["orders"], _CREDIT_IN_ORDERS),
        found=await _counted(databases["users"], _CREDIT_IN_USERS),
    )


async def welcome_differences(databases: Databases) -> list[str]:
    """Compare users with their welcome notifications: each has one."""
    return _differences(
        "welcome notification for user {0}",
        expected=await _counted(databases["users"], "SELECT id FROM user_account"),
        found=await _counted(databases["notifications"], _WELCOME_NOTIFICATIONS),
    )


async def order_notification_differences(databases: Databases) -> list[str]:
    """Compare the orders' timelines with notifications: each entry has one, except the first."""
    return _differences(
        "{2} notification for order {0} of user {1}",
        expected=await _counted(databases["orders"], _TIMELINE_ENTRIES),
        found=await _counted(databases["notifications"], _ORDER_NOTIFICATIONS),
    )


async def _counted(connection: Connection, query: str) -> Counter[tuple[object, ...]]:
    return Counter(tuple(row) for row in await connection.fetch(query))


def _differences(
    description: str, *, expected: Counter[tuple[object, ...]], found: Counter[tuple[object, ...]]
) -> list[str]:
    return [
        f"{description.format(*row)}: found {found[row]}, expected {expected[row]}"
        for row in sorted(expected.keys() | found.keys(), key=str)
        if expected[row] != found[row]
    ]
