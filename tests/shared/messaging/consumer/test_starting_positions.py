"""A consumer whose database went back reads again what the database has not seen, and applies each event once."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from shared.connection_urls import dsn_of
from shared.database import Database, open_database
from shared.ids import new_id
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.inbox import next_offsets
from shared.messaging.outbox.publisher import partition_of
from shared.messaging.storage.generation import NUMBER_BITS, raise_generation
from tests.harness.databases import execute_as_owner
from tests.harness.rows import Rows
from tests.harness.running import running_consumers
from tests.harness.waiting import until
from tests.shared.effects import CONSUMER, has_effects
from tests.shared.messaging.consumer.topic import Topic

Committed = Callable[[UUID], Awaitable[int | None]]


@asynccontextmanager
async def backed_up(database_url: str, admin_url: str) -> AsyncIterator[str]:
    """Copy a database that nobody uses; yield the copy's URL."""
    name = dsn_of(database_url).rsplit("/", 1)[1]
    admin = await asyncpg.connect(admin_url)
    await admin.execute(f'CREATE DATABASE "{name}_backup" TEMPLATE "{name}"')
    try:
        yield f"{database_url}_backup"
    finally:
        await admin.execute(f'DROP DATABASE "{name}_backup" WITH (FORCE)')
        await admin.close()


async def consume(consumers: ConsumerGroups, database: Database, *, effects: int) -> None:
    async with running_consumers(consumers):
        await until(has_effects(database, effects), what=f"{effects} events are applied")


async def go_back(database: Database, *, sequence: int) -> None:
    """Undo what was applied after a number, as a restore of the running service's database does."""
    await execute_as_owner(
        database.sessions,
        f"""
        DELETE FROM inbox WHERE event_id IN (SELECT event_id FROM effect WHERE sequence > {sequence});
        DELETE FROM effect WHERE sequence > {sequence};
        UPDATE inbox_sequence SET "offset" = "offset" - (sequence - {sequence}), sequence = {sequence};
        UPDATE stream_generation SET timeline = '00000000'
        """,  # noqa: S608 - a number
    )


async def sequences_of(database: Database, user_id: UUID) -> list[int]:
    return [sequence for key, sequence in await Rows(database.sessions).effects() if key == str(user_id)]


@pytest.fixture
def reset_group(
    kafka_bootstrap_servers: str, topic_prefix: str, topic: Topic
) -> Callable[[dict[int, int]], Awaitable[None]]:
    """`await reset_group({0: 5})`: commit an offset of partition 0 as a tool of Kafka's does."""

    async def commit(offsets: dict[int, int]) -> None:
        async with AIOKafkaConsumer(
            bootstrap_servers=kafka_bootstrap_servers, group_id=f"{topic_prefix}{CONSUMER}", enable_auto_commit=False
        ) as consumer:
            partitions = {TopicPartition(topic.name, partition): offset for partition, offset in offsets.items()}
            consumer.assign(list(partitions))
            await consumer.commit(partitions)

    return commit


async def test_a_restored_database_takes_again_what_it_had_applied_since(
    database_url: str,
    database: Database,
    postgres_admin_url: str,
    topic: Topic,
    consumers_of: Callable[..., ConsumerGroups],
    committed: Committed,
) -> None:
    user_id, other_id = new_id(), new_id()
    for sequence in (1, 2):
        await topic.send(user_id, sequence)
    await consume(consumers_of(database), database, effects=2)
    await database.engine.dispose()
    async with backed_up(database_url, postgres_admin_url) as backup_url:
        for sequence in (3, 4, 5):
            await topic.send(user_id, sequence)
        await topic.send(other_id, 1)
        await consume(consumers_of(database), database, effects=6)
        assert await committed(user_id) is not None
        restored = open_database(backup_url, service="users", pool_size=5)
        await execute_as_owner(restored.sessions, "UPDATE stream_generation SET timeline = '00000000'")
        await consume(consumers_of(restored), restored, effects=6)
        # It goes on in the producer's numbers, and once more it begins where it ended.
        await topic.send(user_id, 6)
        await consume(consumers_of(restored), restored, effects=7)
        assert await sequences_of(restored, user_id) == [1, 2, 3, 4, 5, 6]
        assert await sequences_of(restored, other_id) == [1]
        assert await Rows(restored.sessions).count("dead_letter") == 0
        await restored.close()


async def test_a_running_consumer_notices_that_its_database_went_back(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    user_id = new_id()
    for sequence in (1, 2, 3):
        await topic.send(user_id, sequence)
    async with running_consumers(consumers_of(database)):
        await until(has_effects(database, 3), what="the first are applied")
        await go_back(database, sequence=1)
        await topic.send(user_id, 4)
        await until(has_effects(database, 4), what="the lost ones and the new one are applied")
    assert await sequences_of(database, user_id) == [1, 2, 3, 4]
    assert await Rows(database.sessions).count("dead_letter") == 0


async def test_a_running_consumer_without_events_notices_it_too(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.messaging.consumer.starting_positions.CHECK_INTERVAL_SECONDS", 0.2)
    user_id = new_id()
    for sequence in (1, 2, 3):
        await topic.send(user_id, sequence)
    async with running_consumers(consumers_of(database)):
        await until(has_effects(database, 3), what="the first are applied")
        await go_back(database, sequence=1)
        await until(has_effects(database, 3), what="the lost ones are applied")
    assert await sequences_of(database, user_id) == [1, 2, 3]


async def test_a_restored_producer_s_new_numbers_are_accepted(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    user_id = new_id()
    restored = 100 << NUMBER_BITS
    for sequence in (1, 2, 3, restored + 1, restored + 2):
        await topic.send(user_id, sequence)
    await consume(consumers_of(database), database, effects=5)
    assert await sequences_of(database, user_id) == [1, 2, 3, restored + 1, restored + 2]


async def test_a_raised_generation_alone_applies_nothing_twice(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    user_id = new_id()
    for sequence in (1, 2, 3):
        await topic.send(user_id, sequence)
    await consume(consumers_of(database), database, effects=3)
    async with database.sessions.begin() as session:
        await raise_generation(session, actor="me", note="to be sure")
    await topic.send(user_id, 4)
    await consume(consumers_of(database), database, effects=4)
    assert await sequences_of(database, user_id) == [1, 2, 3, 4]


async def test_a_database_that_has_seen_nothing_begins_at_the_beginning(
    database: Database,
    topic: Topic,
    consumers_of: Callable[..., ConsumerGroups],
    reset_group: Callable[[dict[int, int]], Awaitable[None]],
) -> None:
    users = [new_id() for _ in range(12)]
    for user_id in users:
        await topic.send(user_id, 1)
    await reset_group(dict.fromkeys(range(6), 2))
    async with database.sessions.begin() as session:
        await raise_generation(session, actor="me", note="an empty database")
    await consume(consumers_of(database), database, effects=len(users))
    assert await Rows(database.sessions).count("effect") == len(users)


async def test_offsets_that_an_operator_has_reset_are_trusted_in_the_first_generation(
    database: Database,
    topic: Topic,
    consumers_of: Callable[..., ConsumerGroups],
    reset_group: Callable[[dict[int, int]], Awaitable[None]],
    committed: Committed,
) -> None:
    user_id = new_id()
    for sequence in (1, 2):
        await topic.send(user_id, sequence)
    await reset_group({partition_of(str(user_id).encode(), 6): 1})
    await consume(consumers_of(database), database, effects=1)
    assert await sequences_of(database, user_id) == [2]
    assert await committed(user_id) == 2


async def test_the_last_day_on_which_a_partition_moved_tells_where_to_begin(database: Database) -> None:
    rows = [("a", 0, 10, 3), ("b", 0, 7, 4), ("c", 1, 5, 6), ("d", 2, 9, 40)]
    today = datetime.now(UTC).date()
    for key, partition, offset, days in rows:
        await execute_as_owner(
            database.sessions,
            f"""
            INSERT INTO inbox_sequence (consumer, topic, key, sequence, partition, "offset", moved_on)
            VALUES ('{CONSUMER}', 'users', '{key}', 1, {partition}, {offset}, '{today - timedelta(days=days)}')
            """,  # noqa: S608 - constants
        )
    async with database.sessions() as session:

        async def found(partitions: list[int] | None = None) -> dict[int, int]:
            return await next_offsets(session, consumer=CONSUMER, topic="users", partitions=partitions)

        assert await found() == {0: 11, 1: 6}
        assert await found([0]) == {0: 11}
