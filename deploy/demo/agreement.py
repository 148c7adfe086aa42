"""Invariants between databases: what one service knows, compared with what the others made of it."""

from collections import Counter
from collections.abc import Mapping
from typing import TypeAlias

import asyncpg

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Databases: TypeAlias = Mapping[str, Connection]
"""A connection to the database of each service."""

READERS = {"users": ("orders", "notifications"), "orders": ("users", "notifications")}
"""By topic, which is named after the service that sends it."""

_SENT = "SELECT key, sequence FROM event_stream WHERE topic = $1"
_TAKEN = "SELECT key, sequence FROM inbox_sequence WHERE consumer = $1 AND topic = $2"
# Both tell, by order, what the order holds of its customer's credit: (order, 'reserved' or 'used', cents).
_CREDIT_BY_ORDERS = """
    SELECT id, CASE WHEN status IN ('pending', 'confirmed') THEN 'reserved' ELSE 'used' END,
           total_cents - refunded_cents
    FROM customer_order WHERE status NOT IN ('rejected', 'cancelled')
"""
_CREDIT_BY_USERS = """
    SELECT order_id, status, amount_cents - refunded_cents FROM credit_reservation WHERE status IN ('reserved', 'used')
"""
_OF_ORDERS = """
    SELECT o.id::text, o.user_id,
           'order.' || CASE WHEN t.amount_cents IS NULL THEN t.status ELSE 'refunded' END
    FROM order_timeline t JOIN customer_order o ON o.id = t.order_id
    WHERE t.status <> 'pending'
"""
_TOLD_OF_ORDERS = "SELECT data->>'order_id', user_id, event_type FROM notification WHERE category = 'orders'"
_WELCOMED = "SELECT user_id FROM notification WHERE event_type = 'user.created'"


async def events_not_taken(databases: Databases) -> list[str]:
    """Streams whose end a subscribed service has not reached."""
    late: list[str] = []
    for topic, readers in READERS.items():
        for reader in readers:
            rows = await databases[reader].fetch(_TAKEN, f"{reader}.{topic}", topic)
            taken: dict[str, int] = {row["key"]: row["sequence"] for row in rows}
            sent = await databases[topic].fetch(_SENT, topic)
            late += [
                f"{reader} is at {taken.get(key, 0)} of {sequence} in {topic} {key}"
                for key, sequence in sent
                if taken.get(key, 0) != sequence
            ]
    return late


async def credit_disagreeing(databases: Databases) -> list[str]:
    """Open orders hold reserved credit, shipped ones have used it, and nothing else holds any."""
    return _differences(
        "order {}: {} {}",
        wanted=await _counted(databases["orders"], _CREDIT_BY_ORDERS),
        found=await _counted(databases["users"], _CREDIT_BY_USERS),
    )


async def welcomes_disagreeing(databases: Databases) -> list[str]:
    """Each user has one welcome."""
    return _differences(
        "a welcome of user {}",
        wanted=await _counted(databases["users"], "SELECT id FROM user_account"),
        found=await _counted(databases["notifications"], _WELCOMED),
    )


async def notices_disagreeing(databases: Databases) -> list[str]:
    """Each entry of an order's timeline, the first one aside, was told to its customer."""
    return _differences(
        "order {}, user {}: {}",
        wanted=await _counted(databases["orders"], _OF_ORDERS),
        found=await _counted(databases["notifications"], _TOLD_OF_ORDERS),
    )


async def _counted(connection: Connection, query: str) -> Counter[tuple[object, ...]]:
    return Counter(tuple(row) for row in await connection.fetch(query))


def _differences(words: str, *, wanted: Counter[tuple[object, ...]], found: Counter[tuple[object, ...]]) -> list[str]:
    return [
        f"{words.format(*row)}: {found[row]} instead of {wanted[row]}"
        for row in sorted(wanted.keys() | found.keys(), key=str)
        if wanted[row] != found[row]
    ]
