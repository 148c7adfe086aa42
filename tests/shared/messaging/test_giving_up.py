"""A batch that was not applied is given back, and its offsets are not committed: whoever gets it next applies it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from uuid import UUID

import asyncpg
import pytest
from aiokafka.errors import CommitFailedError
from faststream.kafka import KafkaBroker, KafkaMessage
from structlog.testing import capture_logs

from shared.database import Database, open_database
from shared.ids import new_id
from shared.messaging.consumer.group import ConsumerGroups, Member
from shared.messaging.consumer.worker import ConsumerWorker
from tests.harness.builders import received, record_of
from tests.harness.databases import DatabaseFactory
from tests.harness.rows import Rows
from tests.harness.waiting import until
from tests.shared.messaging.consuming import Topic, effects_are, running
from tests.shared.messaging.scenario import CONSUMER, credit_reserved, subscription

NO_SERVER = "127.0.0.1:1"
NOWHERE = "postgresql+asyncpg://nobody@127.0.0.1:1/nothing"


class Batch(SimpleNamespace):
    """What Kafka's client hands over: three events of three partitions, and what becomes of them."""

    def __init__(self, *, ack_raises: Exception | None = None) -> None:
        events = [received(credit_reserved(), sequence=1, partition=partition) for partition in range(3)]
        super().__init__(raw_message=tuple(map(record_of, events)), calls=[], ack_raises=ack_raises)

    async def ack(self) -> None:
        self.calls.append("ack")
        if self.ack_raises:
            raise self.ack_raises

    async def nack(self) -> None:
        self.calls.append("nack")


async def handled(
    database: Database, batch: Batch, *, is_stopping: bool = False, **options: float
) -> tuple[ConsumerWorker, list[str]]:
    """Let a member handle a fetch; return its worker, and the events it logged."""
    worker = ConsumerWorker(name=CONSUMER, subscription=subscription(), sessions=database.sessions, **options)
    member = Member(worker, broker=KafkaBroker(NO_SERVER), topic_prefix="")
    if is_stopping:
        worker.stop()
    message: KafkaMessage = batch  # type: ignore[assignment]  # all of a message that a consumer uses
    with capture_logs() as logs:
        async with asyncio.timeout(60):
            await member.handle(message)
    return worker, [line["event"] for line in logs]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = open_database(url, service="test", pool_size=1)
    yield database
    await database.close()


@pytest.fixture
async def closed_off(database: Database, postgres_admin_url: str) -> AsyncIterator[Callable[[bool], Awaitable[None]]]:
    """`await closed_off(True)`: the database refuses connections; `False` lets them in again."""
    admin = await asyncpg.connect(postgres_admin_url)
    name = database.engine.url.database

    async def close_off(closed: bool) -> None:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {not closed}")
        if closed:
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)

    yield close_off
    await close_off(False)
    await admin.close()


async def test_it_is_given_back_when_the_process_stops_while_the_database_is_away() -> None:
    batch = Batch()
    async with opened(NOWHERE) as database:
        consumer, events = await handled(database, batch, is_stopping=True)
    assert (batch.calls, events) == (["nack"], ["fetch_given_up"])
    assert consumer.is_backing_off


async def test_it_is_given_back_when_the_database_stays_away_for_too_long() -> None:
    batch = Batch()
    async with opened(NOWHERE) as database:
        _, events = await handled(database, batch, max_retry_seconds=1.0)
    assert batch.calls == ["nack"]
    # For each of three partitions 25 to 50 ms after the first try, then after twice that, and so on.
    assert 3 <= events.count("batch_retried") <= 24
    assert events[-1] == "fetch_given_up"


async def test_it_is_given_back_after_a_fault_that_nobody_foresaw(database_factory: DatabaseFactory) -> None:
    batch = Batch()
    async with opened(await database_factory()) as database:  # without any table, so that nothing can be parked either
        _, events = await handled(database, batch, is_stopping=True)
    assert (batch.calls, events[-1]) == (["nack"], "fetch_failed")


async def test_offsets_that_cannot_be_committed_do_not_end_the_consumer(database: Database) -> None:
    batch = Batch(ack_raises=CommitFailedError())
    _, events = await handled(database, batch)
    assert (batch.calls, events) == (["ack"], ["offsets_not_committed"])
    assert await Rows(database.sessions).count("effect") == 3


async def test_what_a_process_could_not_apply_as_it_stopped_is_applied_by_the_next(
    database: Database,
    closed_off: Callable[[bool], Awaitable[None]],
    topic: Topic,
    consumers_of: Callable[..., ConsumerGroups],
    committed: Callable[[UUID], Awaitable[int | None]],
) -> None:
    user_id = new_id()
    await topic.send(user_id, 1)
    consumers = consumers_of(database)
    async with running(consumers):
        await until(effects_are(database, 1), what="the first is applied")
        await closed_off(True)
        await topic.send(user_id, 2)

        async def waits_for_the_database() -> bool:
            return consumers._members[0].worker.is_backing_off

        await until(waits_for_the_database, what="the second is tried")
        async with asyncio.timeout(40):
            await consumers.stop()
    assert await committed(user_id) == 1
    await closed_off(False)
    async with running(consumers_of(database)):
        await until(effects_are(database, 2), what="the second is applied")
    assert await Rows(database.sessions).effects() == [(str(user_id), 1), (str(user_id), 2)]
