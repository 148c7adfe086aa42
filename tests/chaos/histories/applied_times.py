"""The time at which each consumer has applied each event: a column that only the databases of campaigns have."""

import asyncpg

from shared.connection_urls import dsn_of

_ADD = "ALTER TABLE inbox ADD COLUMN IF NOT EXISTS applied_at timestamptz DEFAULT clock_timestamp()"


async def add_column(owner_url: str) -> None:
    """Add `inbox.applied_at`, which PostgreSQL sets. The services do not notice: they name the columns they use."""
    connection = await asyncpg.connect(dsn_of(owner_url))
    try:
        await connection.execute(_ADD)
    finally:
        await connection.close()
