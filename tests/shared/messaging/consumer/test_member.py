"""A member commits the offsets of a fetch only after it has applied the fetch; otherwise Kafka delivers it again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from uuid import UUID

import asyncpg
import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError
from faststream.kafka import KafkaBroker
from structlog.testing import capture_logs

from shared.database import Database, open_database
from shared.ids import new_id
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.member import Member
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.envelope import MAX_SEQUENCE
from tests.harness.builders import received, record_of
from tests.harness.databases import DatabaseFactory
from tests.harness.rows import Rows
from tests.harness.running import running_consumers
from tests.harness.waiting import until
from tests.shared.effects import CONSUMER, credit_refused, credit_reserved, has_effects, subscription
from tests.shared.messaging.consumer.topic import Topic

UNREACHABLE = "127.0.0.1:1"
UNREACHABLE_DATABASE = f"postgresql+asyncpg://nobody@{UNREACHABLE}/nothing"


class FetchingConsumer(SimpleNamespace):
    """A stand-in for a consumer that has fetched. `calls` shows what a member did with the offsets."""

    def __init__(self, *, commit_raises: Exception | None = None) -> None:
        super().__init__(calls=[], commit_raises=commit_raises, assigned=range(6))

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.calls.append(("seek", partition.partition, offset))

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition("users", partition) for partition in self.assigned}

    async def commit(self, offsets: dict[TopicPartition, tuple[int, str]]) -> None:
        committed = sorted((partition.partition, offset) for partition, (offset, _) in offsets.items())
        self.calls.append(("commit", *committed))
        if self.commit_raises:
            raise self.commit_raises


FETCH = [received(credit_reserved(), sequence=1, partition=partition, offset=10) for partition in range(3)]
"""Events of three partitions."""
SOUGHT = [("seek", partition, 10) for partition in range(3)]
COMMITTED = [("commit", (0, 11), (1, 11), (2, 11))]


def member_of(database: Database, consumer: FetchingConsumer, **options: float) -> Member:
    """Return a member whose consumer is the stand-in."""
    worker = ConsumerWorker(name=CONSUMER, subscription=subscription(), sessions=database.sessions, **options)
    member = Member(worker, broker=KafkaBroker(UNREACHABLE), topic_prefix="")
    member._subscriber.consumer = consumer  # it has what a member uses
    return member


async def handled(
    database: Database, consumer: FetchingConsumer, *, is_stopping: bool = False, **options: float
) -> tuple[ConsumerWorker, list[str]]:
    """Let a member handle a fetch and stop; return its worker and the names of the events that it logged."""
    member = member_of(database, consumer, **options)
    if is_stopping:
        member.worker.stop()
    with capture_logs() as logs:
        async with asyncio.timeout(60):
            await member.handle(consumer, list(map(record_of, FETCH)))
            await member.stop()
    return member.worker, [line["event"] for line in logs]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = open_database(url, service="test", pool_size=1)
    yield database
    await database.close()


@pytest.fixture
async def reject_connections(
    database: Database, postgres_admin_url: str
) -> AsyncIterator[Callable[[bool], Awaitable[None]]]:
    """`await reject_connections(True)`: the database rejects connections; with `False` it accepts them again."""
    admin = await asyncpg.connect(postgres_admin_url)
    name = database.engine.url.database

    async def set_rejecting(rejects: bool) -> None:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {not rejects}")
        if rejects:
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)

    yield set_rejecting
    await set_rejecting(False)
    await admin.close()


async def test_a_member_that_stops_while_the_database_is_unreachable_gives_up_its_fetch() -> None:
    consumer = FetchingConsumer()
    async with opened(UNREACHABLE_DATABASE) as database:
        worker, events = await handled(database, consumer, is_stopping=True)
    assert (consumer.calls, events) == (SOUGHT, ["fetch_given_up"])
    assert worker.is_backing_off


async def test_a_member_gives_up_its_fetch_after_its_retries() -> None:
    consumer = FetchingConsumer()
    async with opened(UNREACHABLE_DATABASE) as database:
        _, events = await handled(database, consumer, max_retry_seconds=1.0)
    assert consumer.calls == SOUGHT
    # Retried after 25 to 50 ms, then after twice as long, and so on.
    assert 1 <= events.count("batch_retried") <= 8
    assert events[-1] == "fetch_given_up"


async def test_a_member_gives_up_its_fetch_after_an_unexpected_error(database_factory: DatabaseFactory) -> None:
    consumer = FetchingConsumer()
    # A database without tables cannot even store dead letters.
    async with opened(await database_factory()) as database:
        _, events = await handled(database, consumer, is_stopping=True)
    assert (consumer.calls, events[-1]) == (SOUGHT, "fetch_failed")


async def test_a_failed_commit_of_offsets_is_only_logged(database: Database) -> None:
    consumer = FetchingConsumer(commit_raises=CommitFailedError())
    _, events = await handled(database, consumer)
    assert (consumer.calls, events) == (COMMITTED, ["offsets_not_committed"])
    assert await Rows(database.sessions).count("effect") == 3


async def test_a_fetch_of_ignored_types_only_moves_the_offsets() -> None:
    consumer = FetchingConsumer()
    # It needs no database.
    async with opened(UNREACHABLE_DATABASE) as database:
        member = member_of(database, consumer)
        await member.handle(consumer, [record_of(received(credit_refused(new_id()), sequence=1, offset=20))])
        await member.stop()
    assert consumer.calls == [("commit", (0, 21))]


async def test_ignored_types_among_handled_ones_do_nothing(database: Database) -> None:
    user_id, rows, consumer = new_id(), Rows(database.sessions), FetchingConsumer()
    member = member_of(database, consumer)
    ignored = received(credit_refused(user_id), sequence=MAX_SEQUENCE, offset=20)
    undecodable = ignored._replace(headers={"ce_type": ignored.headers["ce_type"]}, offset=21)
    applied = received(credit_reserved(user_id), sequence=2, offset=22)
    await member.handle(consumer, list(map(record_of, (ignored, undecodable, applied))))
    await member.stop()
    assert await rows.of("SELECT sequence FROM inbox_sequence") == [(2,)]
    assert (await rows.effects(), await rows.dead_letters()) == ([(str(user_id), 2)], [])
    assert consumer.calls == [("commit", (0, 23))]


async def test_a_member_that_loses_a_partition_commits_what_it_applied(database: Database) -> None:
    consumer = FetchingConsumer()
    member = member_of(database, consumer)
    await member.handle(consumer, list(map(record_of, FETCH)))
    await member.on_partitions_revoked([TopicPartition("users", partition) for partition in range(3)])
    await member.handle(consumer, [record_of(received(credit_reserved(), sequence=1, partition=3, offset=5))])
    await member.stop()
    assert consumer.calls == [*COMMITTED, ("commit", (3, 6))]
    assert await Rows(database.sessions).count("inbox_sequence") == 4


async def test_a_fetch_that_ends_after_a_rebalance_commits_the_partitions_that_are_still_ours(
    database: Database,
) -> None:
    consumer = FetchingConsumer()
    member = member_of(database, consumer)
    await member.handle(consumer, list(map(record_of, FETCH)))
    consumer.assigned = [1]
    await member.stop()
    assert consumer.calls == [("commit", (1, 11))]


async def test_the_next_process_applies_what_a_stopped_one_could_not(
    database: Database,
    reject_connections: Callable[[bool], Awaitable[None]],
    topic: Topic,
    consumers_of: Callable[..., ConsumerGroups],
    committed: Callable[[UUID], Awaitable[int | None]],
) -> None:
    user_id = new_id()
    await topic.send(user_id, 1)
    consumers = consumers_of(database)
    async with running_consumers(consumers):
        await until(has_effects(database, 1), what="the first is applied")
        await reject_connections(True)
        await topic.send(user_id, 2)

        async def is_backing_off() -> bool:
            return consumers._members[0].worker.is_backing_off

        await until(is_backing_off, what="the second is tried")
        async with asyncio.timeout(40):
            await consumers.stop()
    assert await committed(user_id) == 1
    await reject_connections(False)
    async with running_consumers(consumers_of(database)):
        await until(has_effects(database, 2), what="the second is applied")
    assert await Rows(database.sessions).effects() == [(str(user_id), 1), (str(user_id), 2)]
