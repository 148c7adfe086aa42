"""Statements on the driver's connection belong to the session's transaction, and never to an earlier one."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.database import Database, open_database
from shared.driver_statements import DriverStatement, fetch
from shared.transient_errors import is_transient
from tests.harness.databases import DatabaseFactory


class Base(DeclarativeBase):
    pass


class Number(Base):
    """A row of the test's table."""

    __tablename__ = "number"
    value: Mapped[int] = mapped_column(primary_key=True)


BACKEND = DriverStatement("SELECT pg_backend_pid() AS pid")
INSERT = DriverStatement("INSERT INTO number (value) VALUES (:value)")
INSERT_RETURNING = DriverStatement("INSERT INTO number (value) VALUES (:value) RETURNING *")
TERMINATE = sa.text("SELECT pg_terminate_backend(:pid)")


@pytest.fixture
async def database(database_factory: DatabaseFactory) -> AsyncIterator[Database]:
    opened = open_database(await database_factory(), service="test", pool_size=2)
    async with opened.sessions.begin() as session:
        await session.execute(sa.text("CREATE TABLE number (value integer PRIMARY KEY)"))
    yield opened
    await opened.close()


async def backend_of(session: AsyncSession) -> int:
    """Return the process id of the session's back end, as the driver sees it."""
    (row,) = await fetch(session, BACKEND, {})
    pid: int = row["pid"]
    return pid


async def numbers(database: Database) -> list[int]:
    """Return the committed numbers."""
    async with database.sessions() as session:
        return list(await session.scalars(sa.text("SELECT value FROM number ORDER BY value")))


async def test_statements_are_committed_and_rolled_back_with_the_session(database: Database) -> None:
    async with database.sessions.begin() as session:
        await fetch(session, INSERT, {"value": 1})
        async with session.begin_nested() as savepoint:
            await fetch(session, INSERT, {"value": 2})
            await savepoint.rollback()
        with pytest.raises(asyncpg.UniqueViolationError):
            async with session.begin_nested():
                await fetch(session, INSERT, {"value": 1})
        await fetch(session, INSERT, {"value": 3})
    assert await numbers(database) == [1, 3]


async def test_a_session_uses_the_connection_of_its_current_transaction(database: Database) -> None:
    async with database.sessions() as session, database.sessions() as other:
        first = await backend_of(session)
        assert await session.scalar(sa.text("SELECT pg_backend_pid()")) == first
        await session.commit()
        # The pool returns the connection that was used last.
        assert await backend_of(other) == first
        assert await backend_of(session) != first


async def test_a_dead_connection_is_replaced(database: Database) -> None:
    async with database.sessions() as session:
        dead = await backend_of(session)
        async with database.sessions() as other:
            await other.execute(TERMINATE, {"pid": dead})
        with pytest.raises(Exception) as lost:  # noqa: PT011 - any error of a lost connection
            await backend_of(session)
        assert is_transient(lost.value)
        await session.rollback()
        assert await backend_of(session) != dead
        await fetch(session, INSERT, {"value": 7})
        await session.commit()
    assert await numbers(database) == [7]


async def test_after_a_failed_flush_no_statement_is_executed_outside_of_the_transaction(database: Database) -> None:
    async with database.sessions() as session:
        await fetch(session, INSERT, {"value": 1})
        session.add_all([Number(value=2), Number(value=1)])
        with pytest.raises(sa.exc.IntegrityError):
            await session.flush()
        with pytest.raises(sa.exc.PendingRollbackError):
            await fetch(session, INSERT, {"value": 3})
    assert await numbers(database) == []


async def test_after_a_schema_change_every_connection_prepares_its_statements_again(database: Database) -> None:
    async def change(session: AsyncSession, value: int) -> None:
        await fetch(session, INSERT_RETURNING, {"value": value})

    async with database.sessions() as first, database.sessions() as second:
        await change(first, 1)
        await change(second, 2)
    async with database.sessions.begin() as session:
        await session.execute(sa.text("ALTER TABLE number ALTER COLUMN value TYPE bigint"))
    async with database.sessions() as session:
        with pytest.raises(asyncpg.InvalidCachedStatementError) as raised:
            await change(session, 3)
    assert is_transient(raised.value)
    async with database.sessions.begin() as first, database.sessions.begin() as second:
        await change(first, 4)
        await change(second, 5)
    assert await numbers(database) == [4, 5]
