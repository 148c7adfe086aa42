"""Read-only connections to the database of each service."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias

import asyncpg

from shared.connection_urls import dsn_of
from shared.events.topics import TOPICS

SERVICES = tuple(dict.fromkeys(topic.producer for topic in TOPICS))
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Databases: TypeAlias = Mapping[str, Connection]
"""A connection to each service's database, by service."""

CONNECT_TIMEOUT_SECONDS = 10
STATEMENT_TIMEOUT_SECONDS = 60
"""Upper bound of one statement. Each reads one page; only those over all open orders take longer than a second."""
_READ_ONLY = {
    "application_name": "audit",
    "default_transaction_read_only": "on",
    "statement_timeout": f"{STATEMENT_TIMEOUT_SECONDS}s",
    "lock_timeout": "5s",
    "jit": "off",
    # Every statement has an index for what it looks up. Reading a whole table looks cheaper only while it is small.
    "enable_seqscan": "off",
}


@asynccontextmanager
async def connected(dsns: Mapping[str, str]) -> AsyncIterator[Databases]:
    """Connect to the database of each service. `dsns`: URLs by service, in SQLAlchemy's or libpq's form.

    Each statement is a read-only transaction of its own, so that none holds an old snapshot.
    """
    async with AsyncExitStack() as stack:
        databases: dict[str, Connection] = {}
        for service in SERVICES:
            connection = await asyncpg.connect(
                dsn_of(dsns[service]),
                timeout=CONNECT_TIMEOUT_SECONDS,
                command_timeout=STATEMENT_TIMEOUT_SECONDS + 5,
                server_settings=_READ_ONLY,
            )
            stack.push_async_callback(connection.close)
            databases[service] = connection
        yield databases
