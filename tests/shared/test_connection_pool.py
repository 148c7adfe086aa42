"""Requests use most of the pool and wait for it briefly; the rest is reserved for everything else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import cast

import pytest
import sqlalchemy as sa

from shared.connection_pool import ConnectionPool, NoFreeConnection, request_share
from shared.database import Database, open_database
from tests.harness.databases import DatabaseFactory
from tests.harness.waiting import until

SIZE, FOR_REQUESTS = 5, 4
ONE = sa.text("SELECT 1")


@pytest.fixture
async def database(database_factory: DatabaseFactory) -> AsyncIterator[Database]:
    opened = open_database(await database_factory(), service="test", pool_size=SIZE)
    pool_of(opened).request_timeout_seconds = 0.05
    yield opened
    await opened.close()


def pool_of(database: Database) -> ConnectionPool:
    return cast("ConnectionPool", database.engine.sync_engine.pool)


async def use(database: Database) -> None:
    async with database.sessions.begin() as session:
        await session.execute(ONE)


async def hold(database: Database, stack: AsyncExitStack, *, connections: int) -> None:
    for _ in range(connections):
        session = await stack.enter_async_context(database.sessions.begin())
        await session.execute(ONE)


async def test_requests_leave_a_connection_to_everything_else(database: Database) -> None:
    async with AsyncExitStack() as stack:
        with request_share():
            await hold(database, stack, connections=FOR_REQUESTS)
            with pytest.raises(NoFreeConnection):
                await use(database)
        await use(database)
    with request_share():
        await use(database)


async def test_a_connection_that_a_request_returns_goes_to_the_next(database: Database) -> None:
    pool = pool_of(database)
    pool.request_timeout_seconds = 60

    async def all_wait() -> bool:
        return pool.waiting == 3

    with request_share():
        async with AsyncExitStack() as stack:
            await hold(database, stack, connections=FOR_REQUESTS)
            waiting = [asyncio.create_task(use(database)) for _ in range(3)]
            await until(all_wait, what="three requests wait")
            waiting[1].cancel()
        async with asyncio.timeout(60):
            results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [type(None), asyncio.CancelledError, type(None)]
        async with AsyncExitStack() as stack:
            await hold(database, stack, connections=FOR_REQUESTS)


async def test_a_request_waits_briefly_for_connections_that_others_hold(database: Database) -> None:
    async with AsyncExitStack() as stack:
        await hold(database, stack, connections=SIZE)
        with request_share(), pytest.raises(NoFreeConnection):
            await use(database)


async def test_work_that_outlives_its_request_uses_the_reserved_connections(database: Database) -> None:
    request_is_over = asyncio.Event()

    async def work() -> None:
        await request_is_over.wait()
        await use(database)

    async with AsyncExitStack() as stack:
        with request_share():
            await hold(database, stack, connections=FOR_REQUESTS)
            task = asyncio.create_task(work())
            await asyncio.sleep(0)
        request_is_over.set()
        await task


async def test_a_failed_connection_is_not_counted_as_lent() -> None:
    unreachable = open_database("postgresql://nobody@127.0.0.1:9/none", service="test", pool_size=SIZE)
    for _ in range(SIZE + 1):
        with request_share(), pytest.raises(OSError, match="Connect call failed"):
            await use(unreachable)
    await unreachable.close()
