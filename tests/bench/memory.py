"""What queued events take: in the relay's memory, on the disk, and in the transaction that records them."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import asyncpg

from shared.database import dsn_of, open_database
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.publisher import Publisher
from shared.messaging.outbox.relay import Relay
from shared.telemetry import continued_trace
from tests.bench.backlog import fill_outbox, messages, user_events
from tests.bench.figures import Figure
from tests.bench.setting import Round, Setting
from tests.bench.waiting import OUTBOX_IS_EMPTY, until
from tests.chaos.nursery import Forked
from tests.chaos.worker import begin

BACKLOG_ROUNDS = 5
"""So many rounds' events wait at once: a backlog's share must stand out from what a page takes."""
SAMPLE = 1_000
WARM_EVENTS = 100
DRAINED_SECONDS = 150.0


class NotDrained(Exception):
    """The relay's process failed, or took too long."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the relay's process drains, and where it writes its greatest size in bytes."""

    database_url: str
    kafka: str
    topic_prefix: str
    log: Path
    peak: Path


@asynccontextmanager
async def memory(setting: Setting) -> AsyncIterator[Round]:
    """Bytes for 1,000 events, beside what these are as Kafka gets them."""
    yield [partial(_measured, setting)]


async def _measured(setting: Setting) -> list[Figure]:
    database_url = await setting.new_database("memory")
    topic_prefix = await setting.new_topics("memory")
    backlog = BACKLOG_ROUNDS * setting.events
    await fill_outbox(database_url, events=WARM_EVENTS)
    without = await _peak_of_drain(setting, database_url, topic_prefix, name="without-backlog")
    empty = await _outbox_bytes(database_url)
    await fill_outbox(database_url, events=backlog)
    on_disk = await _outbox_bytes(database_url) - empty
    with_backlog = await _peak_of_drain(setting, database_url, topic_prefix, name="with-backlog")
    return [
        _figure("relay's memory, of a backlog", 1_000 * max(0, with_backlog - without) / backlog),
        _figure("outbox on disk", 1_000 * on_disk / backlog),
        _figure("transaction that records them, before its commit", await _recorded_bytes(database_url)),
    ]


def _figure(what: str, value: float) -> Figure:
    own = [
        len(message.key) + len(message.value) + sum(len(name) + len(text) for name, text in message.headers)
        for message in messages(SAMPLE)
    ]
    return Figure(
        bench="memory",
        what=f"1,000 events: {what}",
        values=(value,),
        unit="bytes",
        better="less",
        baseline="keys, values, headers",
        baseline_values=(1_000 * sum(own) / SAMPLE,),
    )


async def _peak_of_drain(setting: Setting, database_url: str, topic_prefix: str, *, name: str) -> int:
    """Bytes; of a relay's process of its own, from its start until the outbox is empty."""
    folder = setting.ground.folder
    plan = Plan(
        database_url=database_url,
        kafka=setting.ground.kafka,
        topic_prefix=topic_prefix,
        log=folder / f"{topic_prefix}{name}.log",
        peak=folder / f"{topic_prefix}{name}.peak",
    )
    process = Forked(main, plan)
    has_ended = await process.ended(within_seconds=2 * DRAINED_SECONDS)
    status = process.exit_status
    await process.stop()
    if not has_ended or status:
        raise NotDrained(plan.log)
    peak: int = json.loads(plan.peak.read_text())
    return peak


def main(plan: Plan) -> None:
    """Drain the outbox, and note the process's greatest size."""
    begin(log=plan.log, seed=0, points="")
    asyncio.run(_drain(plan))
    plan.peak.write_text(json.dumps(_peak_bytes()))


async def _drain(plan: Plan) -> None:
    dsn = dsn_of(plan.database_url)
    publisher = Publisher(bootstrap_servers=plan.kafka, client_id="bench", topic_prefix=plan.topic_prefix)
    relay = Relay(dsn=dsn, publisher=publisher)
    connection = await asyncpg.connect(dsn)
    running = asyncio.create_task(relay.run())
    await until(connection, OUTBOX_IS_EMPTY, seconds=DRAINED_SECONDS)
    relay.stop()
    await running
    await relay.close()
    await connection.close()


def _peak_bytes() -> int:
    """Of this process, as the kernel counts it. The fork's own pages are all that it began with."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise NotImplementedError("the peak of a process's memory is read from Linux's /proc")


async def _outbox_bytes(database_url: str) -> int:
    """With its indexes and all."""
    connection = await asyncpg.connect(dsn_of(database_url))
    try:
        size: int = await connection.fetchval("SELECT pg_total_relation_size('outbox')")
        return size
    finally:
        await connection.close()


async def _recorded_bytes(database_url: str) -> float:
    """Held by what was recorded, with the events themselves; nothing is written."""
    database = open_database(database_url, service="users", pool_size=1)
    events = user_events()
    async with database.sessions() as session:
        # What the first one of all brings in is no event's.
        record(session, next(events))
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for event in islice(events, SAMPLE):
            with continued_trace(None):
                record(session, event)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await session.rollback()
    await database.close()
    return 1_000 * (after - before) / SAMPLE
