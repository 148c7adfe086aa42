"""The size of queued events, in the relay's memory and on the disk."""

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import fmean

import asyncpg

from shared.connection_urls import dsn_of
from tests.bench.events import fill_outbox, messages
from tests.bench.fixtures import Benchmark, Fixtures, in_own_process
from tests.bench.measurement import Measurement
from tests.bench.relay import drain_outbox

BACKLOG_ROUNDS = 5
"""The backlog, in rounds of events: large enough that its memory differs from that of one page."""
SAMPLE = 1_000
WARM_UP_EVENTS = 100


@asynccontextmanager
async def benchmark(fixtures: Fixtures) -> AsyncIterator[Benchmark]:
    """Measure the bytes of 1,000 events beside the size of their keys, values and headers."""

    async def measure(_round: int) -> list[Measurement]:
        outbox = {
            "database_url": await fixtures.create_database("memory"),
            "kafka": fixtures.servers.kafka,
            "topic_prefix": await fixtures.create_topics("memory"),
        }
        backlog = BACKLOG_ROUNDS * fixtures.events
        await fill_outbox(outbox["database_url"], events=WARM_UP_EVENTS)
        without_backlog = await in_own_process(_peak_bytes_of_drain, outbox)
        empty = await _outbox_bytes(outbox["database_url"])
        await fill_outbox(outbox["database_url"], events=backlog)
        on_disk = await _outbox_bytes(outbox["database_url"]) - empty
        with_backlog = await in_own_process(_peak_bytes_of_drain, outbox)
        bare = fmean(
            len(one["key"]) + len(one["value"]) + sum(len(name) + len(text) for name, text in one["headers"])
            for one in messages(SAMPLE)
        )
        return [
            Measurement(
                name=f"memory: 1,000 events, {where}",
                values=(1_000 * size / backlog,),
                unit="bytes",
                baseline="keys, values, headers",
                baseline_values=(1_000 * bare,),
            )
            for where, size in (
                ("in the relay's memory", max(0, with_backlog - without_backlog)),
                ("in the outbox on disk", on_disk),
            )
        ]

    yield measure


def _peak_bytes_of_drain(outbox: dict[str, str]) -> int:
    """Drain the outbox; return the peak of this process's memory."""
    asyncio.run(drain_outbox(**outbox))
    # Linux counts in KiB.
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def _outbox_bytes(database_url: str) -> int:
    """Return the outbox's size on disk, with its indexes."""
    connection = await asyncpg.connect(dsn_of(database_url))
    try:
        size: int = await connection.fetchval("SELECT pg_total_relation_size('outbox')")
        return size
    finally:
        await connection.close()
