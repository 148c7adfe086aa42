"""Which faults pass by themselves, told by causing them in a real database."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import sqlalchemy as sa

from shared.database import Database, dsn_of, open_database
from shared.transient_errors import is_transient
from tests.harness.databases import DatabaseFactory


@pytest.fixture
async def database(database_factory: DatabaseFactory) -> AsyncIterator[Database]:
    opened = open_database(await database_factory(), service="test", pool_size=1)
    yield opened
    await opened.close()


async def fault_of(database: Database, *statements: str, **parameters: object) -> Exception:
    """What the last statement of a transaction raises."""
    *before, last = statements
    async with database.sessions() as session:
        for statement in before:
            await session.execute(sa.text(statement))
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one it is, is what is asked
            await session.execute(sa.text(last), parameters)
    return caught.value


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "53100", "53300", "57P03", "25006"])
async def test_what_the_server_can_not_do_now_passes(database: Database, sqlstate: str) -> None:
    error = await fault_of(database, f"DO $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{sqlstate}'; END $$")
    assert is_transient(error)


async def test_a_statement_that_takes_too_long_passes(database: Database) -> None:
    assert is_transient(await fault_of(database, "SET LOCAL statement_timeout = 20", "SELECT pg_sleep(5)"))


async def test_a_lock_that_is_not_given_in_time_passes(database: Database) -> None:
    holder = await asyncpg.connect(dsn_of(database.engine.url.render_as_string(hide_password=False)))
    await holder.execute("SELECT pg_advisory_lock(1)")
    error = await fault_of(database, "SET LOCAL lock_timeout = 20", "SELECT pg_advisory_lock(1)")
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
async def test_what_a_statement_brings_on_itself_does_not_pass(database: Database, statement: str) -> None:
    assert not is_transient(await fault_of(database, statement))


async def test_a_value_that_the_driver_can_not_send_does_not_pass(database: Database) -> None:
    """It never gets to the server, and still must not be taken for trouble with the connection."""
    assert not is_transient(await fault_of(database, "SELECT CAST(:number AS bigint)", number=2**70))


async def test_a_connection_that_is_cut_passes_whatever_the_driver_makes_of_it(database: Database) -> None:
    admin = await asyncpg.connect(dsn_of(database.engine.url.render_as_string(hide_password=False)))

    async def cut() -> int:
        cut_count: int = await admin.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return cut_count

    async def cut_once_it_runs() -> None:
        sleeping = (
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(5)')"
        )
        while not await admin.fetchval(sleeping):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        await cut()

    cutting = asyncio.create_task(cut_once_it_runs())
    while_it_runs = await fault_of(database, "SELECT pg_sleep(5)")
    await cutting
    async with database.sessions() as session:
        await session.execute(sa.text("SELECT 1"))
        await cut()
        with pytest.raises(sa.exc.DBAPIError) as at_the_commit:
            await session.commit()
    await admin.close()
    assert [is_transient(error) for error in (while_it_runs, at_the_commit.value)] == [True, True]
