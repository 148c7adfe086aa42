"""Ctrl-C and SIGTERM stop an operation of the operators' tool at any time."""

import signal
from asyncio import timeout
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa

from shared.database import Database
from tests.harness.databases import execute_as_owner, until_waiting
from tests.harness.held_commits import LOCK, commit_waits_for_lock
from tests.harness.rows import Rows
from tests.harness.tool import IGNORING_INTERRUPTS, Tool
from tests.harness.waiting import until
from tests.orders.service import OrdersService

REPUBLISH = ("republish", "--type", "products")


@pytest.fixture
async def rows(service: OrdersService, database: Database) -> Rows:
    """Rows of a service with one product and a full outbox, where an operation waits for the relay before it begins."""
    await service.add_product("A")
    async with database.sessions.begin() as session:
        await session.execute(
            sa.text("""
                INSERT INTO outbox (
                    shard, event_id, topic, key, sequence, type, source, dataschema, occurred_at, payload
                )
                SELECT 0, gen_random_uuid(), 'products', 'B', n, 't', 's', 'd', now(), ''
                FROM generate_series(1, 2500) AS n
            """)
        )
    return Rows(database.sessions)


@asynccontextmanager
async def holding(database: Database, statement: str) -> AsyncIterator[None]:
    """Hold the locks of a statement."""
    async with database.sessions.begin() as session:
        await session.execute(sa.text(statement))
        yield


async def until_begun(rows: Rows) -> None:
    async def has_begun() -> bool:
        return await rows.count("operation") == 1

    await until(has_begun, what="the operation began")


async def exit_status(process: Process) -> int:
    async with timeout(20):
        return await process.wait()


@pytest.mark.parametrize(
    ("number", "prefix", "status"),
    [(signal.SIGINT, (), 130), (signal.SIGINT, IGNORING_INTERRUPTS, 130), (signal.SIGTERM, (), 143)],
    ids=["interrupt", "interrupt-ignored-by-the-shell", "terminate"],
)
async def test_a_signal_stops_an_operation(
    tool: Tool, rows: Rows, number: int, prefix: tuple[str, ...], status: int
) -> None:
    async with tool.running(*REPUBLISH, prefix=prefix) as process:
        await until_begun(rows)
        process.send_signal(number)
        assert await exit_status(process) == status
        _, err = await process.communicate()
    assert err.startswith(b"Interrupted. republication ")
    assert err.endswith(b": stopped, 0 of 1 sent\n")
    assert await rows.of("SELECT status, done FROM operation") == [("stopped", 0)]


async def test_an_interrupt_during_a_commit_stops_the_operation(tool: Tool, rows: Rows, database: Database) -> None:
    await execute_as_owner(database.sessions, *commit_waits_for_lock("operation"))
    async with tool.running(*REPUBLISH) as process:
        async with holding(database, LOCK):
            await until_waiting(database.sessions, transactions=1)
            process.send_signal(signal.SIGINT)
        assert await exit_status(process) == 130
    assert await rows.of("SELECT status, done FROM operation") == [("stopped", 0)]


async def test_a_second_interrupt_does_not_disturb_the_first(tool: Tool, rows: Rows, database: Database) -> None:
    async with tool.running(*REPUBLISH) as process:
        await until_begun(rows)
        async with holding(database, "SELECT FROM operation FOR UPDATE"):
            process.send_signal(signal.SIGINT)
            await until_waiting(database.sessions, transactions=1)
            process.send_signal(signal.SIGINT)
        assert await exit_status(process) == 130
    assert await rows.of("SELECT status FROM operation") == [("stopped",)]
