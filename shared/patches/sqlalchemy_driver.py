"""SQLAlchemy: transactions that begin as a connection leaves the pool, and statements on the driver's connection.

SQLAlchemy 2.1 with asyncpg pings before every transaction in a transaction of its own: three more round trips, 15 % of
what an order costs. Here the ping is the BEGIN of the transaction that the connection is taken for. This replaces
`do_ping` of one engine's dialect, and uses the private `_transaction` and `_start_transaction` of
`AsyncAdapt_asyncpg_connection`, which the first statement would call otherwise. After a schema change it also drops the
driver's prepared statements, with the private `_check_type_cache_invalidation` and the dialect's
`_invalidate_schema_cache`. The pool replaces a connection whose
ping fails, and no statement has been executed by then. There is no upstream issue.
"""

import asyncio
from typing import Any, cast

import asyncpg
import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

BEGIN_TIMEOUT_SECONDS = 5.0
"""Time to wait for BEGIN; then the pool opens a new connection."""


def ping_with_begin(engine: AsyncEngine) -> None:
    """Let an engine with `pool_pre_ping` ping by beginning the transaction."""
    dialect = cast("Any", engine.sync_engine.dialect)

    async def start(dbapi_connection: DBAPIConnection) -> None:
        # SQLAlchemy checks this before each of its own statements, but not before those on the driver's connection.
        await dbapi_connection._check_type_cache_invalidation(  # noqa: SLF001
            dialect._invalidate_schema_cache_asof  # noqa: SLF001
        )
        async with asyncio.timeout(BEGIN_TIMEOUT_SECONDS):
            await dbapi_connection._start_transaction()  # noqa: SLF001

    def begin(dbapi_connection: DBAPIConnection) -> bool:
        try:
            await_only(start(dbapi_connection))
        except TimeoutError:
            return False
        return True

    dialect.do_ping = begin


def invalidate_statements(connection: sa.Connection) -> None:
    """Let every connection of the engine prepare its statements again, from its next transaction on.

    SQLAlchemy does so by itself after most errors of its own statements.
    """
    cast("Any", connection.dialect)._invalidate_schema_cache()  # noqa: SLF001


def has_begun(dbapi_connection: DBAPIConnection) -> bool:
    """Return whether a connection is in a transaction, so that a COMMIT or ROLLBACK is sent to the server."""
    return cast("Any", dbapi_connection)._transaction is not None  # noqa: SLF001


def begun_connection(connection: sa.Connection) -> "asyncpg.Connection[asyncpg.Record]":
    """Return the driver's connection, whose transaction has begun. Call it in a greenlet of SQLAlchemy."""
    adapted = cast("Any", connection.connection.dbapi_connection)
    # The pool does not ping a connection that it has just opened.
    if adapted._transaction is None:  # noqa: SLF001
        await_only(adapted._start_transaction())  # noqa: SLF001
    raw: asyncpg.Connection[asyncpg.Record] = adapted.driver_connection
    return raw
