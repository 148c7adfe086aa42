"""Statements of the hot path, executed on the driver's connection within the session's transaction.

SQLAlchemy's own execution takes 160 microseconds a statement, the driver's 70. The session still begins, commits and
rolls back. Such a statement does not see changes that are not flushed.
"""

import re
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.util import await_only

from shared.patches.sqlalchemy_driver import begun_connection, invalidate_statements
from shared.sql_spans import sql_span
from shared.transient_errors import is_stale_statement

_SERVER_ENDS = (asyncpg.AdminShutdownError, asyncpg.CrashShutdownError)
_PARAMETER = re.compile(r"(?<!:):([a-z_]+)")


class DriverStatement:
    """SQL with parameters such as `:name`, which PostgreSQL gets by number."""

    def __init__(self, sql: str) -> None:
        self.names = tuple(dict.fromkeys(_PARAMETER.findall(sql)))
        numbers = {name: f"${number}" for number, name in enumerate(self.names, start=1)}
        self.sql = _PARAMETER.sub(lambda match: numbers[match[1]], sql)

    def arguments(self, parameters: Mapping[str, Any]) -> list[Any]:
        """Return the parameters' values in the order of their numbers."""
        return [parameters[name] for name in self.names]


class _Begun(NamedTuple):
    """A transaction or savepoint, and its connection as SQLAlchemy and as the driver know it."""

    # Weak: the session holds this, and its transaction holds the session.
    transaction: "weakref.ref[SessionTransaction]"
    connection: sa.Connection
    driver: "asyncpg.Connection[asyncpg.Record]"


async def fetch(
    session: AsyncSession, statement: DriverStatement, parameters: Mapping[str, Any]
) -> list[asyncpg.Record]:
    """Execute a statement and return its rows. Raises: errors of asyncpg."""
    # Only the first statement of a transaction or savepoint needs one of SQLAlchemy's greenlets.
    begun = _begun_before(session.sync_session)
    if begun is None:
        begun = await session.run_sync(_begin)
    try:
        with sql_span(statement.sql):
            return await begun.driver.fetch(statement.sql, *statement.arguments(parameters))
    except BaseException as error:
        if _knows_old_schema(error):
            invalidate_statements(begun.connection)
        if _has_to_close(begun.driver, error):
            await session.run_sync(_invalidate, begun, error)
        raise


def fetch_in(session: Session, statement: DriverStatement, parameters: Mapping[str, Any]) -> list[asyncpg.Record]:
    """Execute a statement in code that SQLAlchemy calls, such as an event's listener. Raises: errors of asyncpg."""
    begun = _begun_before(session) or _begin(session)
    try:
        with sql_span(statement.sql):
            return await_only(begun.driver.fetch(statement.sql, *statement.arguments(parameters)))
    except BaseException as error:
        if _knows_old_schema(error):
            invalidate_statements(begun.connection)
        if _has_to_close(begun.driver, error):
            _invalidate(session, begun, error)
        raise


def _begun_before(session: Session) -> _Begun | None:
    """Return what an earlier statement of the same transaction or savepoint found; None if there was none."""
    begun: _Begun | None = session.info.get(_Begun)
    transaction = _innermost(session)
    if begun is None or transaction is None or begun.transaction() is not transaction:
        return None
    # After a failed flush the transaction is rolled back already, which SQLAlchemy raises in `_begin`.
    return begun if transaction.is_active else None


def _begin(session: Session) -> _Begun:
    """Begin the transaction, and the savepoint if there is one: SQLAlchemy does so at the first use."""
    transaction = _innermost(session) or session.begin()
    connection = session.connection()
    begun = _Begun(weakref.ref(transaction), connection, begun_connection(connection))
    session.info[_Begun] = begun
    return begun


def _innermost(session: Session) -> SessionTransaction | None:
    return session.get_nested_transaction() or session.get_transaction()


def _knows_old_schema(error: BaseException) -> bool:
    """Return whether the connection's statements or types are older than the schema, as SQLAlchemy judges it."""
    return is_stale_statement(error) or isinstance(error, asyncpg.InternalServerError)


def _has_to_close(driver: "asyncpg.Connection[asyncpg.Record]", error: BaseException) -> bool:
    """Return whether the connection is dead or in an unknown state. SQLAlchemy would send a ROLLBACK on it."""
    return driver.is_closed() or not isinstance(error, asyncpg.PostgresError) or isinstance(error, _SERVER_ENDS)


def _invalidate(_session: Session, begun: _Begun, error: BaseException) -> None:
    # SQLAlchemy does not see the driver's errors.
    begun.connection.invalidate(error)
