"""What tests do to a database to take it away from a service, and what gives it back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy.engine import make_url

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"


async def cut_connections(admin_url: str, database_url: str) -> None:
    """Terminate every back end of the database; new connections are welcome."""
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute(CUT, make_url(database_url).database)
    finally:
        await connection.close()


@asynccontextmanager
async def refusing_connections(admin_url: str, database_url: str) -> AsyncIterator[None]:
    """Cut all connections, and let nobody in before the end."""
    name = make_url(database_url).database
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await connection.execute(CUT, name)
        yield
    finally:
        await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await connection.close()
