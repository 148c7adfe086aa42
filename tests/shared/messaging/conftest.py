"""A database with the messaging tables and one table of effects, and a small service made of real parts."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from shared.database import Database, open_database
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.outbox.publisher import partition_of
from shared.messaging.topics import create_topics
from tests.harness.databases import DatabaseFactory
from tests.shared.messaging.consuming import Topic
from tests.shared.messaging.scenario import CONSUMER, EFFECT_TABLE, subscription


@pytest.fixture
async def database_url(database_factory: DatabaseFactory) -> str:
    """A fresh database with what every service has."""
    return await database_factory("users")


@pytest.fixture
async def open_service(database_url: str) -> AsyncIterator[Callable[..., Database]]:
    """`open_service(on_events_committed=...)`: a database as a service opens it, closed after the test."""
    opened: list[Database] = []

    def open_(on_events_committed: Callable[[], None] | None = None) -> Database:
        database = open_database(database_url, service="test", pool_size=10, on_events_committed=on_events_committed)
        opened.append(database)
        return database

    yield open_
    for database in opened:
        await database.close()


@pytest.fixture
async def database(open_service: Callable[..., Database]) -> Database:
    """The database without a relay."""
    database = open_service()
    async with database.sessions.begin() as session:
        await session.execute(sa.text(EFFECT_TABLE))
    return database


@pytest.fixture
async def topic(kafka_bootstrap_servers: str, topic_prefix: str) -> AsyncIterator[Topic]:
    await create_topics(kafka_bootstrap_servers, prefix=topic_prefix)
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap_servers)
    await producer.start()
    yield Topic(producer, f"{topic_prefix}users")
    await producer.stop()


@pytest.fixture
def consumers_of(kafka_bootstrap_servers: str, topic_prefix: str) -> Callable[..., ConsumerGroups]:
    """`consumers_of(database, handlers=...)`: one more member of the test's group."""

    def make(database: Database, *, handlers: Subscription | None = None, **options: Any) -> ConsumerGroups:
        return ConsumerGroups(
            [ConsumerWorker(name=CONSUMER, subscription=handlers or subscription(), sessions=database.sessions)],
            bootstrap_servers=kafka_bootstrap_servers,
            client_id="test",
            topic_prefix=topic_prefix,
            **options,
        )

    return make


@pytest.fixture
async def committed(
    kafka_bootstrap_servers: str, topic_prefix: str, topic: Topic
) -> AsyncIterator[Callable[[UUID], Awaitable[int | None]]]:
    """`await committed(user_id)`: the offset that the test's group has committed in the partition of that key."""
    probe = AIOKafkaConsumer(bootstrap_servers=kafka_bootstrap_servers, group_id=f"{topic_prefix}{CONSUMER}")
    await probe.start()

    async def offset(user_id: UUID) -> int | None:
        partition = partition_of(str(user_id).encode(), 6)
        found: int | None = await probe.committed(TopicPartition(topic.name, partition))
        return found

    yield offset
    await probe.stop()
