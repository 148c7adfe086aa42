"""The consumer: how many events a second it applies, against loops that promise less."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import dsn_of
from shared.events.users import UserUpdated
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.envelope import EventContext
from tests.bench.backlog import TOPIC, messages
from tests.bench.consuming_rivals import UPSERT_ONE, bare_loop, faststream_handler
from tests.bench.figures import Figure
from tests.bench.reading import reading
from tests.bench.replica import UPSERT, columns_of, create_replica
from tests.bench.rivals import send_bare
from tests.bench.setting import Round, Setting

SINGLE_SHARE = 5
"""The rival with a transaction for each message gets a fifth of the events: it is slow, and its rate steady."""
POLL_SECONDS = 0.02
MAX_RETRY_SECONDS = 120.0
BARE = "bare aiokafka loop, one bulk upsert a batch"
SINGLE = "FastStream handler, one transaction a message"

_UPSERT_MANY = sa.text(
    UPSERT.format(
        user_ids="CAST(:user_ids AS uuid[])",
        emails="CAST(:emails AS text[])",
        names="CAST(:names AS text[])",
        events="CAST(:events AS bigint[])",
    )
)

Loop = Callable[..., AbstractAsyncContextManager[None]]
"""`loop(database_url, kafka=..., topic_prefix=..., group=...)`: consumes while it is entered."""


@asynccontextmanager
async def consuming(setting: Setting) -> AsyncIterator[Round]:
    """The handlers that take many events and those that take one, against both rivals."""
    prefix = await setting.new_topics("consuming")
    await send_bare(setting.ground.kafka, prefix + TOPIC, messages(setting.events))
    contenders: dict[str, tuple[Loop, int]] = {
        "many": (_consumer_of(batching()), setting.events),
        BARE: (_of_topic(bare_loop), setting.events),
        "one": (_consumer_of(one_by_one()), setting.events // 2),
        SINGLE: (_of_topic(faststream_handler), setting.events // SINGLE_SHARE),
    }
    numbers = count()

    async def once() -> list[Figure]:
        rates = {
            name: await _rate(setting, loop, topic_prefix=prefix, group=str(next(numbers)), events=events)
            for name, (loop, events) in contenders.items()
        }
        return [
            Figure(
                bench="consumer",
                what=f"applied by a handler that takes {takes}",
                values=(rates[takes],),
                unit="events/s",
                better="more",
                baseline=rival,
                baseline_values=(rates[rival],),
                goal=goal if takes == "many" else None,
            )
            for rival, goal in ((BARE, 0.5), (SINGLE, 5))
            for takes in ("many", "one")
        ]

    yield [once]


def batching() -> Subscription:
    """One statement for neighbouring events."""
    users = Subscription(TOPIC, partitions_at_once=3)

    @users.on_batch(UserUpdated)
    async def remember_all(session: AsyncSession, events: Sequence[tuple[UserUpdated, EventContext]]) -> None:
        await session.execute(_UPSERT_MANY, columns_of([event for event, _ in events]))

    return users


def one_by_one() -> Subscription:
    """A statement for each event."""
    users = Subscription(TOPIC)

    @users.on(UserUpdated)
    async def remember(session: AsyncSession, event: UserUpdated, _context: EventContext) -> None:
        await session.execute(UPSERT_ONE, {"user_id": event.user_id, "email": event.email, "name": event.name})

    return users


async def _rate(setting: Setting, loop: Loop, *, topic_prefix: str, group: str, events: int) -> float:
    """Events a second, from the first that is seen applied to the last; start and joining don't count."""
    database_url = await setting.new_database("reader")
    await create_replica(database_url)
    connection = await asyncpg.connect(dsn_of(database_url))
    try:
        async with loop(database_url, kafka=setting.ground.kafka, topic_prefix=topic_prefix, group=group):
            first, started = await _applied(connection, at_least=1)
            last, ended = await _applied(connection, at_least=events)
    finally:
        await connection.close()
    return (last - first) / (ended - started)


async def _applied(connection: "asyncpg.Connection[asyncpg.Record]", *, at_least: int) -> tuple[int, float]:
    """How many events are in the replica, and when that was. Raises: TimeoutError."""
    async with asyncio.timeout(MAX_RETRY_SECONDS):
        while True:
            count: int = await connection.fetchval("SELECT coalesce(sum(events), 0)::bigint FROM replica")
            if count >= at_least:
                return count, time.perf_counter()
            await asyncio.sleep(POLL_SECONDS)


def _consumer_of(subscription: Subscription) -> Loop:
    def loop(database_url: str, *, kafka: str, topic_prefix: str, group: str) -> AbstractAsyncContextManager[None]:
        name = f"reader{group}.{TOPIC}"
        return reading(subscription, database_url=database_url, kafka=kafka, topic_prefix=topic_prefix, name=name)

    return loop


def _of_topic(rival: Callable[..., AbstractAsyncContextManager[None]]) -> Loop:
    def loop(database_url: str, *, kafka: str, topic_prefix: str, group: str) -> AbstractAsyncContextManager[None]:
        return rival(database_url, kafka=kafka, topic=topic_prefix + TOPIC, group=group)

    return loop
