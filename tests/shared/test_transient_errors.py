"""Errors of a real database are classified as transient or permanent."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import sqlalchemy as sa

from shared.connection_urls import dsn_of
from shared.database import Database, open_database
from shared.transient_errors import is_stale_statement, is_transient
from tests.harness.database_outages import cut_connections
from tests.harness.databases import DatabaseFactory
from tests.harness.waiting import until


@pytest.fixture
async def database(database_factory: DatabaseFactory) -> AsyncIterator[Database]:
    opened = open_database(await database_factory(), service="test", pool_size=1)
    yield opened
    await opened.close()


async def error_of(database: Database, *statements: str, **parameters: object) -> Exception:
    """Return the error that the last statement of a transaction raises."""
    *before, last = statements
    async with database.sessions() as session:
        for statement in before:
            await session.execute(sa.text(statement))
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the caller examines it
            await session.execute(sa.text(last), parameters)
    return caught.value


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "53100", "53300", "57P03", "25006"])
async def test_an_error_of_the_server_is_transient(database: Database, sqlstate: str) -> None:
    error = await error_of(database, f"DO $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{sqlstate}'; END $$")
    assert is_transient(error)


async def test_a_statement_timeout_is_transient(database: Database) -> None:
    assert is_transient(await error_of(database, "SET LOCAL statement_timeout = 20", "SELECT pg_sleep(5)"))


async def test_a_lock_timeout_is_transient(database: Database) -> None:
    holder = await asyncpg.connect(dsn_of(database.engine.url.render_as_string(hide_password=False)))
    await holder.execute("SELECT pg_advisory_lock(1)")
    error = await error_of(database, "SET LOCAL lock_timeout = 20", "SELECT pg_advisory_lock(1)")
    await holder.close()
    assert is_transient(error)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 / 0",
        "SELECT nothing",
        "INSERT INTO pg_temp.nowhere VALUES (1)",
        "SELECT 'no number'::integer",
        "DO $$ BEGIN RAISE EXCEPTION 'no'; END $$",
    ],
)
async def test_an_error_that_the_statement_causes_is_permanent(database: Database, statement: str) -> None:
    assert not is_transient(await error_of(database, statement))


async def test_a_value_that_the_driver_cannot_encode_is_permanent(database: Database) -> None:
    """The value is not sent to the server, but the connection has no error either."""
    assert not is_transient(await error_of(database, "SELECT CAST(:number AS bigint)", number=2**70))


async def test_a_lost_connection_is_transient_in_every_phase(database: Database, postgres_admin_url: str) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    observer = await asyncpg.connect(postgres_admin_url)

    async def cut_once_it_runs() -> None:
        sleeping = (
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(5)'"
            " AND datname = $1)"
        )
        await until(lambda: observer.fetchval(sleeping, database.engine.url.database), what="the statement runs")
        await cut_connections(postgres_admin_url, url)

    cutting = asyncio.create_task(cut_once_it_runs())
    while_it_runs = await error_of(database, "SELECT pg_sleep(5)")
    await cutting
    async with database.sessions() as session:
        await session.execute(sa.text("SELECT 1"))
        await cut_connections(postgres_admin_url, url)
        with pytest.raises(sa.exc.DBAPIError) as at_the_commit:
            await session.commit()
    await observer.close()
    assert [is_transient(error) for error in (while_it_runs, at_the_commit.value)] == [True, True]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE note ALTER COLUMN size TYPE bigint",
        "ALTER TABLE note ADD COLUMN text text",
        "ALTER TABLE note DROP COLUMN spare",
        """
        ALTER TYPE kind RENAME TO old_kind;
        CREATE TYPE kind AS ENUM ('a', 'b');
        ALTER TABLE note ALTER COLUMN kind TYPE kind USING kind::text::kind;
        DROP TYPE old_kind
        """,
        "ALTER TYPE shape ADD ATTRIBUTE depth integer",
    ],
    ids=["column-type", "added-column", "dropped-column", "recreated-enum", "composite-type"],
)
async def test_a_statement_that_a_schema_change_invalidates_works_when_it_is_repeated(
    database: Database, change: str
) -> None:
    insert = sa.text("INSERT INTO note (size, kind, shape) VALUES (:size, :kind, '(1)') RETURNING *")
    url = dsn_of(database.engine.url.render_as_string(hide_password=False))
    other = await asyncpg.connect(url)
    await other.execute("""
        CREATE TYPE kind AS ENUM ('a');
        CREATE TYPE shape AS (width integer);
        CREATE TABLE note (id bigserial PRIMARY KEY, size integer, kind kind, spare text, shape shape)
    """)
    async with database.sessions.begin() as session:
        await session.execute(insert, {"size": 1, "kind": "a"})
    await other.execute(change)
    await other.close()
    if "shape" in change:
        insert = sa.text("INSERT INTO note (size, kind, shape) VALUES (:size, :kind, '(1,2)') RETURNING *")
    async with database.sessions() as session:
        with pytest.raises(sa.exc.DBAPIError) as raised:
            await session.execute(insert, {"size": 2, "kind": "a"})
    assert is_stale_statement(raised.value), raised.value
    assert is_transient(raised.value)
    async with database.sessions.begin() as session:
        await session.execute(insert, {"size": 2, "kind": "a"})


async def test_another_unsupported_feature_is_permanent(database: Database) -> None:
    error = await error_of(database, "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '0A000'; END $$")
    assert not is_transient(error)
    assert not is_stale_statement(error)
