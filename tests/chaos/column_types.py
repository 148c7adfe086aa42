"""Changes of a column's type while the services run, as a migration makes them."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import asyncpg

LOCK_TIMEOUT = "1s"
TYPES = ("text", "varchar")
"""Both hold the same values; a prepared statement knows only the one that it was planned with."""


class Column(NamedTuple):
    """A column whose type may change."""

    table: str
    name: str


MESSAGING_COLUMNS = (
    Column("outbox", "key"),
    Column("outbox", "type"),
    Column("inbox_sequence", "key"),
    Column("event_stream", "key"),
)
SERVICE_COLUMNS: dict[str, Sequence[Column]] = {
    "users": (Column("user_account", "name"), Column("credit_reservation", "currency")),
    "orders": (Column("customer_order", "number"), Column("product", "currency"), Column("order_item", "name")),
    "notifications": (Column("recipient", "email"), Column("notification", "title"), Column("delivery", "last_error")),
}


async def change_type(admin_url: str, columns: Sequence[Column], rng: Random) -> None:
    """Change the type of one of the columns. Raises: LockNotAvailableError if its table is busy."""
    column = rng.choice(columns)
    connection = await asyncpg.connect(admin_url, timeout=5)
    try:
        await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
        present = await connection.fetchval(
            "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = $1::regclass AND attname = $2",
            column.table,
            column.name,
        )
        other = TYPES[present == TYPES[0]]
        await connection.execute(f"ALTER TABLE {column.table} ALTER COLUMN {column.name} TYPE {other}")
    finally:
        await connection.close()
