"""Statements of the hot path, executed on the driver's connection within the session's transaction.

SQLAlchemy's own execution takes 160 microseconds a statement, the driver's 70. The session still begins, commits and
rolls back. Such a statement does not see changes that are not flushed.
"""

import re
from collections.abc import Mapping
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

from shared.patches.sqlalchemy_driver import begun_connection

_SERVER_ENDS = (asyncpg.AdminShutdownError, asyncpg.CrashShutdownError)
_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")


class DriverStatement:
    """SQL with parameters such as `:name`, which PostgreSQL gets by number."""

    def __init__(self, sql: str) -> None:
        self.names = tuple(dict.fromkeys(_PARAMETER.findall(sql)))
        numbers = {name: f"${number}" for number, name in enumerate(self.names, start=1)}
        self.sql = _PARAMETER.sub(lambda match: numbers[match[1]], sql)


async def fetch(
    session: AsyncSession, statement: DriverStatement, parameters: Mapping[str, Any]
) -> list[asyncpg.Record]:
    """Execute a statement and return its rows. Raises: errors of asyncpg."""
    return await session.run_sync(fetch_in, statement, parameters)


def fetch_in(session: Session, statement: DriverStatement, parameters: Mapping[str, Any]) -> list[asyncpg.Record]:
    """Execute a statement in code that SQLAlchemy calls, such as an event's listener. Raises: errors of asyncpg."""
    connection = session.connection()
    raw = begun_connection(connection)
    try:
        return await_only(raw.fetch(statement.sql, *(parameters[name] for name in statement.names)))
    except BaseException as error:
        # SQLAlchemy does not see the driver's errors, and would send a ROLLBACK on a dead connection.
        if raw.is_closed() or not isinstance(error, asyncpg.PostgresError) or isinstance(error, _SERVER_ENDS):
            connection.invalidate(error)
        raise
