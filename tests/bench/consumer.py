"""The consumer's throughput: events a second from a full topic into a replica."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from shared.connection_urls import dsn_of
from shared.events.users import UserUpdated
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext
from tests.bench.consumer_baselines import bare_loop, faststream_handler
from tests.bench.events import TOPIC, messages
from tests.bench.fixtures import Benchmark, Fixtures
from tests.bench.measurement import Measurement
from tests.bench.relay_baselines import send_bare
from tests.bench.replica import BULK_UPSERT, UPSERT_ONE, columns_of, consuming, create_replica

POLL_SECONDS = 0.02
TIMEOUT_SECONDS = 120.0
BATCHES, SINGLE_EVENTS = "batches", "single events"
BARE, FASTSTREAM = "bare aiokafka loop, one bulk upsert a batch", "FastStream handler, one transaction a message"
SHARES = {BATCHES: 1, BARE: 1, SINGLE_EVENTS: 2, FASTSTREAM: 5}
"""The divisor of the events for each consumer. The slow ones get fewer; their rates do not depend on the number."""

Consumer = Callable[..., AbstractAsyncContextManager[None]]
"""`consumer(database_url, kafka=..., topic_prefix=..., group=...)`: consumes while it is entered."""


@asynccontextmanager
async def benchmark(fixtures: Fixtures) -> AsyncIterator[Benchmark]:
    """Measure a handler of batches and one of single events beside both baselines."""
    kafka = fixtures.servers.kafka
    topic_prefix = await fixtures.create_topics("consumer")
    await send_bare(kafka, topic_prefix + TOPIC, messages(fixtures.events))
    consumers: dict[str, Consumer] = {
        BATCHES: partial(consuming, handler_of_batches()),
        BARE: bare_loop,
        SINGLE_EVENTS: partial(consuming, handler_of_single_events()),
        FASTSTREAM: faststream_handler,
    }

    async def rate(name: str, number: int) -> float:
        """Return events a second from the first that was seen applied to the last; joining the group is not counted."""
        database_url = await fixtures.create_database("consumer")
        await create_replica(database_url)
        group = f"{name.replace(' ', '-').replace(',', '')}-{number}"
        connection = await asyncpg.connect(dsn_of(database_url))
        try:
            async with consumers[name](database_url, kafka=kafka, topic_prefix=topic_prefix, group=group):
                first, started = await _applied(connection, at_least=1)
                last, ended = await _applied(connection, at_least=fixtures.events // SHARES[name])
        finally:
            await connection.close()
        return (last - first) / (ended - started)

    async def measure(number: int) -> list[Measurement]:
        rates = {name: await rate(name, number) for name in consumers}
        return [
            Measurement(
                name=f"consumer: applied by a handler of {handler}",
                values=(rates[handler],),
                unit="events/s",
                higher_is_better=True,
                baseline=baseline,
                baseline_values=(rates[baseline],),
                ratio_goal=goal if handler == BATCHES else None,
            )
            for baseline, goal in ((BARE, 0.5), (FASTSTREAM, 5))
            for handler in (BATCHES, SINGLE_EVENTS)
        ]

    yield measure


def handler_of_batches() -> Subscription:
    """Return a subscription that applies consecutive events with one statement."""
    users = Subscription(TOPIC, batches_at_once=3)

    @users.on_batch(UserUpdated)
    async def upsert(session: AsyncSession, events: Sequence[tuple[UserUpdated, EventContext]]) -> None:
        await session.execute(BULK_UPSERT, columns_of([event for event, _ in events]))

    return users


def handler_of_single_events() -> Subscription:
    """Return a subscription that applies each event with a statement."""
    users = Subscription(TOPIC)

    @users.on(UserUpdated)
    async def upsert(session: AsyncSession, event: UserUpdated, _context: EventContext) -> None:
        await session.execute(
            UPSERT_ONE, {"user_id": event.user_id, "personal": event.personal, "locale": event.locale}
        )

    return users


async def _applied(connection: "asyncpg.Connection[asyncpg.Record]", *, at_least: int) -> tuple[int, float]:
    """Wait until that many events are applied; return their number and the time. Raises: TimeoutError."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            count: int = await connection.fetchval("SELECT coalesce(sum(events), 0)::bigint FROM replica")
            if count >= at_least:
                return count, time.perf_counter()
            await asyncio.sleep(POLL_SECONDS)
