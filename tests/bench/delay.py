"""The delay from commit to Kafka at a steady rate, with the relay in the writer's process and in its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice

import asyncpg

from shared.connection_urls import dsn_of
from shared.database import open_database
from shared.events.contract import Event
from shared.garbage_collector import tune_garbage_collector
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.publisher import Acknowledged, PartitionsOf, Publisher, PublishError
from shared.messaging.outbox.relay import Relay
from shared.messaging.outbox.wake_up import Notifier
from shared.telemetry import continued_trace
from tests.bench.arrivals import start_each_at
from tests.bench.events import TOPIC, messages, send_at_rate, user_events
from tests.bench.fixtures import OUTBOX_IS_EMPTY, Benchmark, Fixtures, in_own_process, wait_for
from tests.bench.measurement import Measurement, latencies
from tests.harness.running import running

RATE = 500
TRANSACTION_EVENTS = 5
"""A transaction costs its writer over 1 ms of processor time: with 500 a second, a relay in its process gets none."""
SECONDS = 10
WARM_UP_SECONDS = 2
"""Not counted: connections are opened, and a relay takes the lease."""
MAX_LATE_SHARE = 0.02
"""The share by which the writer may overrun: with more, the delay would be that of a lower load."""
POOL_SIZE = 10
MAX_MS = (5.0, 25.0)
DRAIN_TIMEOUT_SECONDS = 10.0


class TimingPublisher(Publisher):
    """Keeps the time at which each event was acknowledged, by the machine's monotonic clock."""

    acknowledged: dict[str, float]

    async def publish(
        self, rows: Sequence[asyncpg.Record], *, partitions_of: PartitionsOf
    ) -> tuple[list[Acknowledged], dict[str, PublishError]]:
        sent, failed = await super().publish(rows, partitions_of=partitions_of)
        now = time.monotonic()
        ids = {row["id"]: str(row["event_id"]) for row in rows}
        self.acknowledged.update((ids[one.row_id], now) for one in sent)
        return sent, failed


@asynccontextmanager
async def benchmark(fixtures: Fixtures) -> AsyncIterator[Benchmark]:
    """Measure both arrangements beside a producer without an outbox."""
    kafka = fixtures.servers.kafka
    database_url = await fixtures.create_database("delay")
    topic_prefix = await fixtures.create_topics("delay")

    async def delays(*, apart: bool) -> list[float]:
        publisher = TimingPublisher(KafkaConnection(kafka, topic_prefix), client_id="bench")
        publisher.acknowledged = {}
        relay = Relay(dsn=dsn_of(database_url), publisher=publisher)
        async with running(relay):
            if apart:
                committed = await in_own_process(_write_in_own_process, database_url)
            else:
                committed = await _write(database_url, relay)
            await wait_for(database_url, OUTBOX_IS_EMPTY, seconds=DRAIN_TIMEOUT_SECONDS)
        return [publisher.acknowledged[event] - at for event, at in committed.items()]

    async def measure(_round: int) -> list[Measurement]:
        arrangements = {
            "relay in the writer's process": await delays(apart=False),
            "relay in a process of its own": await delays(apart=True),
        }
        prepared = messages(RATE * (WARM_UP_SECONDS + SECONDS))
        sent = await send_at_rate(
            kafka, topic_prefix + TOPIC, prepared, per_second=RATE, warm_up_seconds=WARM_UP_SECONDS
        )
        return [
            line
            for arrangement, seconds in arrangements.items()
            for line in latencies(
                f"delay: commit to Kafka, {RATE} events/s, {arrangement}",
                seconds,
                baseline="bare send to acknowledgement",
                baseline_seconds=[acknowledged_at - sent_at for sent_at, acknowledged_at in sent.values()],
                max_ms=MAX_MS,
            )
        ]

    yield measure


def _write_in_own_process(database_url: str) -> Mapping[str, float]:
    tune_garbage_collector()
    return asyncio.run(_write(database_url))


async def _write(database_url: str, relay: Relay | None = None) -> Mapping[str, float]:
    """Write at the rate and wake the relay as a service does; return when each commit returned, without the warm-up."""
    notifier = Notifier(dsn=dsn_of(database_url))
    database = open_database(
        database_url,
        service="users",
        pool_size=POOL_SIZE,
        on_events_committed=lambda: relay.wake() if relay and relay.is_leader else notifier.wake(),
    )
    committed: dict[str, float] = {}

    async def commit(at: float, events: Sequence[Event]) -> None:
        with continued_trace(None):
            async with database.sessions.begin() as session:
                event_ids = [record(session, event) for event in events]
        if at >= WARM_UP_SECONDS:
            committed.update(dict.fromkeys(map(str, event_ids), time.monotonic()))

    events = user_events()
    times = [one * TRANSACTION_EVENTS / RATE for one in range(RATE * (WARM_UP_SECONDS + SECONDS) // TRANSACTION_EVENTS)]
    starts = [(at, partial(commit, at, list(islice(events, TRANSACTION_EVENTS)))) for at in times]
    async with running(notifier):
        begun = time.monotonic()
        await start_each_at(starts)
        elapsed = time.monotonic() - begun
    await database.close()
    assert elapsed <= (WARM_UP_SECONDS + SECONDS) * (1 + MAX_LATE_SHARE), f"the writer took {elapsed:.1f} s"
    return committed
