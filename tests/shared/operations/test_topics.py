"""A topic gets more partitions while events are published: its keys move once the consumers have caught up."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest
import sqlalchemy as sa
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

from shared.connection_urls import dsn_of
from shared.database import Database
from shared.ids import new_id
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.kafka import KafkaConnection
from shared.messaging.lag import topic_lag
from shared.messaging.outbox.lease import Lease
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.pages import LeaseLost
from shared.messaging.outbox.partitions import TopicPartitions
from shared.messaging.outbox.relay import Relay
from shared.messaging.topics import admin_client
from shared.operations.topics import (
    ConsumersLag,
    PartitionsNotRaised,
    Repartition,
    TopicNotPublished,
    TopicOperations,
)
from tests.harness.kafka_topics import read_topic
from tests.harness.rows import Rows
from tests.harness.running import running, running_consumers
from tests.harness.waiting import until
from tests.shared.effects import CONSUMER, credit_reserved, has_effects, sequences_by_key
from tests.shared.outbox import until_outbox_is_empty

USERS = [new_id() for _ in range(20)]
LAGGING = "reporting"


@pytest.fixture
def topics(database: Database, kafka_bootstrap_servers: str, kafka_topics: str) -> TopicOperations:
    """Operations that know the consumer of these tests."""
    kafka = KafkaConnection(kafka_bootstrap_servers, kafka_topics)
    return TopicOperations("users", database.sessions, kafka, lambda _topic: [CONSUMER])


@pytest.fixture
async def published(database: Database, relay_of: Callable[..., Relay]) -> Rows:
    """Events that were published to six partitions."""
    await record_events(database)
    async with running(relay_of()):
        await until_outbox_is_empty(database.sessions)
    return Rows(database.sessions)


@pytest.fixture
async def lagging_group(kafka_bootstrap_servers: str, kafka_topics: str, published: Rows) -> str:  # noqa: ARG001
    """An outside subscriber's group that has committed an offset, and was stopped."""
    group = kafka_topics + LAGGING
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka_bootstrap_servers, group_id=group, enable_auto_commit=False
    ) as consumer:
        partition = TopicPartition(f"{kafka_topics}users", 0)
        consumer.assign([partition])
        await consumer.commit({partition: 0})
    return group


def more(
    partitions: int = 12, *, topic: str = "users", timeout_seconds: float = 60, skip: Sequence[str] = ()
) -> Repartition:
    return Repartition(topic, partitions, "ada", timeout_seconds=timeout_seconds, skipped_groups=skip)


async def state_of(topics: TopicOperations) -> TopicPartitions:
    (state,) = await topics.topics()
    return state


async def record_events(database: Database) -> None:
    """Record an event of each user."""
    async with database.sessions.begin() as session:
        for user_id in USERS:
            record(session, credit_reserved(user_id))


@asynccontextmanager
async def recording(database: Database) -> AsyncIterator[None]:
    """Record events, one transaction after the other, until the end of the block."""
    stopping = asyncio.Event()

    async def record_until_stopped() -> None:
        while not stopping.is_set():
            await record_events(database)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(record_until_stopped())
    try:
        yield
    finally:
        stopping.set()
        await task


async def test_the_lag_of_a_topic_that_the_broker_does_not_know_is_an_error(kafka_bootstrap_servers: str) -> None:
    """A broker that has just started may not know it. Without its partitions every group would have a lag of 0."""
    kafka = KafkaConnection(kafka_bootstrap_servers)
    async with admin_client(kafka) as admin, topic_lag(admin, kafka, topic="unknown") as lag:
        with pytest.raises(UnknownTopicOrPartitionError):
            await lag.of([LAGGING])


async def test_keys_move_to_new_partitions_under_load_and_stay_in_order(
    database: Database,
    topics: TopicOperations,
    relay_of: Callable[..., Relay],
    consumers_of: Callable[..., ConsumerGroups],
    kafka_bootstrap_servers: str,
) -> None:
    rows = Rows(database.sessions)
    async with (
        running(relay_of(), relay_of()),
        running_consumers(consumers_of(database, metadata_max_age_seconds=1)),
        running_consumers(consumers_of(database, metadata_max_age_seconds=1)),
    ):
        async with recording(database):
            await until(has_effects(database, 200), what="events are applied")
            assert await topics.repartition(more()) is not None
            assert await state_of(topics) == TopicPartitions("users", 12, 12)
            await record_events(database)
        ((recorded,),) = await rows.of("SELECT sum(sequence) FROM event_stream")
        await until(has_effects(database, recorded), what="all events are applied")
    assert await rows.dead_letters() == []
    effects = sequences_by_key(await rows.effects())
    assert all(sequences == list(range(1, len(sequences) + 1)) for sequences in effects.values())
    found = await read_topic(kafka_bootstrap_servers, f"{topics.kafka.topic_prefix}users")
    assert max(one.partition for one in found) > 5
    assert await rows.of("SELECT kind, actor, status, parameters FROM operation") == [
        ("partitions", "ada", "done", {"topic": "users", "from": 6, "to": 12})
    ]
    assert await topics.repartition(more()) is None


async def test_a_group_that_lags_makes_the_operation_give_up_and_change_nothing(
    topics: TopicOperations, published: Rows, lagging_group: str
) -> None:
    own_group = topics.kafka.topic_prefix + CONSUMER
    with pytest.raises(ConsumersLag) as raised:
        await topics.repartition(more(timeout_seconds=0, skip=[own_group]))
    assert raised.value.lag == {lagging_group: await published.count("outbox_sent")}
    assert await state_of(topics) == TopicPartitions("users", 6, 6)
    assert await published.of("SELECT expires_at <= clock_timestamp() FROM relay_lease") == [(True,)]
    assert await published.count("operation") == 0
    assert await topics.repartition(more(skip=[own_group, lagging_group])) is not None
    assert await state_of(topics) == TopicPartitions("users", 12, 12)


async def test_a_group_that_has_never_committed_counts_too(
    topics: TopicOperations, published: Rows, kafka_bootstrap_servers: str, kafka_topics: str
) -> None:
    group = kafka_topics + LAGGING
    async with AIOKafkaConsumer(
        f"{kafka_topics}users", bootstrap_servers=kafka_bootstrap_servers, group_id=group, enable_auto_commit=False
    ) as consumer:

        async def has_joined() -> bool:
            return bool(consumer.assignment())

        await until(has_joined, what="the consumer has joined its group")
        with pytest.raises(ConsumersLag) as raised:
            await topics.repartition(more(timeout_seconds=0, skip=[kafka_topics + CONSUMER]))
    assert raised.value.lag == {group: await published.count("outbox_sent")}


async def test_a_declared_consumer_counts_although_kafka_does_not_know_its_group(
    database: Database,
    topics: TopicOperations,
    published: Rows,
    relay_of: Callable[..., Relay],
    consumers_of: Callable[..., ConsumerGroups],
) -> None:
    with pytest.raises(ConsumersLag) as raised:
        await topics.repartition(more(timeout_seconds=0))
    recorded = await published.count("outbox_sent")
    assert raised.value.lag == {topics.kafka.topic_prefix + CONSUMER: recorded}
    async with running_consumers(consumers_of(database, metadata_max_age_seconds=1)):
        assert await topics.repartition(more()) is not None
        assert len(await published.effects()) == recorded
        await record_events(database)
        async with running(relay_of()):
            await until(has_effects(database, 2 * recorded), what="all events are applied")
    assert sequences_by_key(await published.effects()) == {str(user_id): [1, 2] for user_id in USERS}


async def test_the_operation_gives_up_when_another_process_takes_the_lease(
    database_url: str, topics: TopicOperations, published: Rows, lagging_group: str
) -> None:
    del published, lagging_group
    is_waiting = asyncio.Event()
    connection = await asyncpg.connect(dsn_of(database_url))
    working = asyncio.create_task(topics.repartition(more(), on_lag=lambda _lag: is_waiting.set()))
    async with asyncio.timeout(20):
        await is_waiting.wait()
    await Lease(shard=0, owner="another operator").take_over(connection)
    with pytest.raises(LeaseLost):
        await working
    assert await state_of(topics) == TopicPartitions("users", 6, 6)
    await connection.close()


async def test_the_operation_rejects_other_topics_and_lower_numbers(topics: TopicOperations, published: Rows) -> None:
    with pytest.raises(TopicNotPublished, match="The service publishes: users"):
        await topics.repartition(more(topic="orders"))
    with pytest.raises(PartitionsNotRaised, match="Kafka has 6 partitions of users; the relays use 6"):
        await topics.repartition(more(5))
    async with published.sessions.begin() as session:
        await session.execute(sa.text("UPDATE topic_partitions SET partitions = 9"))
    with pytest.raises(PartitionsNotRaised):
        await topics.repartition(more(8))
