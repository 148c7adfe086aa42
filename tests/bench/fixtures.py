"""The fixtures of every benchmark: servers as they run in production, databases with or without rows, and topics."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from typing import TypeAlias, TypeVar

import asyncpg
import structlog

from shared.connection_urls import dsn_of
from shared.messaging.kafka import KafkaConnection
from shared.messaging.topics import create_topics
from tests.bench.measurement import Measurement
from tests.harness.supervised_servers import TEMPLATE, SupervisedServers
from tests.harness.table_rows import fill_messaging_tables
from tests.harness.waiting import until

T = TypeVar("T")
R = TypeVar("R")

Benchmark: TypeAlias = Callable[[int], Awaitable[list[Measurement]]]
"""Runs the round of that number, counted from 1. Every round returns the same measurements in the same order."""

OUTBOX_IS_EMPTY = "SELECT NOT EXISTS (SELECT FROM outbox)"

_numbers = count(1)


@dataclass(frozen=True, kw_only=True)
class Fixtures:
    """The servers, and the size of the benchmarks."""

    servers: SupervisedServers
    events: int
    """Events in one round."""
    rows: int
    """Rows in every table before a measurement."""
    template: str
    """The database that all others are copied from: migrated, with those rows."""
    _databases: dict[str, str] = field(default_factory=dict)

    async def create_database(self, purpose: str) -> str:
        """Create a database with the rows; return its URL. Drop the last one of this purpose: it may take gigabytes."""
        name = f"bench_{purpose}_{next(_numbers)}"
        if last := self._databases.get(purpose):
            await self.servers.execute(f'DROP DATABASE "{last}" WITH (FORCE)')
        self._databases[purpose] = name
        strategy = "file_copy" if self.rows else "wal_log"
        url = await self.servers.create_database(name, template=self.template, strategy=strategy)
        # Write the copy to disk now, and not during a measurement.
        await self.servers.execute("CHECKPOINT")
        await asyncio.to_thread(os.sync)
        return url

    async def create_topics(self, purpose: str) -> str:
        """Create all declared topics; return the prefix of their names."""
        prefix = f"bench-{purpose}-{next(_numbers)}."
        await create_topics(KafkaConnection(self.servers.kafka, prefix))
        return prefix


async def prepare_fixtures(servers: SupervisedServers, *, events: int, rows: int) -> Fixtures:
    """Create the template, filled if rows are wanted."""
    template = TEMPLATE
    if rows:
        template = f"template_{rows}_rows"
        await fill_messaging_tables(await servers.create_database(template), rows=rows)
    return Fixtures(servers=servers, events=events, rows=rows, template=template)


async def in_own_process(function: Callable[[T], R], argument: T) -> R:
    """Run a function in a new process and return its result."""
    with ProcessPoolExecutor(
        max_workers=1, mp_context=get_context("forkserver"), initializer=_log_warnings_only
    ) as executor:
        return await asyncio.get_running_loop().run_in_executor(executor, function, argument)


def _log_warnings_only() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


async def wait_for(database_url: str, condition: str, *, seconds: float) -> None:
    """Wait until a query returns true. Raises: AssertionError after the deadline."""
    connection = await asyncpg.connect(dsn_of(database_url))
    try:
        await until(lambda: connection.fetchval(condition), seconds=seconds, what=condition)
    finally:
        await connection.close()
