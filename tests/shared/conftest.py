"""A database with the messaging tables and the table of effects, and relays and consumers that use it."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from shared.connection_urls import dsn_of
from shared.database import Database, open_database
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outbox.publisher import Publisher
from shared.messaging.outbox.relay import Relay
from shared.messaging.topics import create_topics
from shared.telemetry import record_spans
from tests.harness.databases import DatabaseFactory, execute_as_owner
from tests.harness.recorded_spans import RecordedSpans
from tests.shared.effects import CONSUMER, EFFECT_TABLE, subscription


@pytest.fixture
def recorded_spans() -> Iterator[RecordedSpans]:
    """The spans that end during the test. Name it before `database`, whose statements have spans then."""
    recorded = RecordedSpans()
    record_spans(recorded.tracer)
    yield recorded
    record_spans(None)


@pytest.fixture
async def database_url(database_factory: DatabaseFactory) -> str:
    """A new database with the tables that every service has."""
    return await database_factory("users")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The database as a service opens it, with the table of effects."""
    opened = open_database(database_url, service="users", pool_size=10)
    await execute_as_owner(opened.sessions, EFFECT_TABLE)
    yield opened
    await opened.close()


@pytest.fixture
async def kafka_topics(kafka_bootstrap_servers: str, topic_prefix: str) -> str:
    """The prefix of the test's topics, which exist."""
    await create_topics(KafkaConnection(kafka_bootstrap_servers, topic_prefix))
    return topic_prefix


@pytest.fixture
def relay_of(database_url: str, kafka_bootstrap_servers: str, kafka_topics: str) -> Callable[..., Relay]:
    """`relay_of()`: a relay that publishes the database's outbox to the test's topics."""

    def make(bootstrap_servers: str = kafka_bootstrap_servers, **options: Any) -> Relay:
        publisher = Publisher(KafkaConnection(bootstrap_servers, kafka_topics), client_id="test")
        return Relay(dsn=dsn_of(database_url), publisher=publisher, **options)

    return make


@pytest.fixture
def consumers_of(kafka_bootstrap_servers: str, kafka_topics: str) -> Callable[..., ConsumerGroups]:
    """`consumers_of(database, handlers=...)`: one more member of the test's consumer group."""

    def make(database: Database, *, handlers: Subscription | None = None, **options: Any) -> ConsumerGroups:
        return ConsumerGroups(
            [ConsumerWorker(name=CONSUMER, subscription=handlers or subscription(), sessions=database.sessions)],
            kafka=KafkaConnection(kafka_bootstrap_servers, kafka_topics),
            client_id="test",
            **options,
        )

    return make
