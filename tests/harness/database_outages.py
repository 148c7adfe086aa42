"""Outages of a database: its connections are terminated, or refused for a while."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy.engine import make_url

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"


async def cut_connections(admin_url: str, database_url: str) -> None:
    """Terminate every backend of the database; new connections are accepted."""
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute(CUT, make_url(database_url).database)
    finally:
        await connection.close()


@asynccontextmanager
async def refusing_connections(admin_url: str, database_url: str) -> AsyncIterator[None]:
    """Terminate all connections, and refuse new ones until the end of the block."""
    name = make_url(database_url).database
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await connection.execute(CUT, name)
        yield
    finally:
        await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await connection.close()
