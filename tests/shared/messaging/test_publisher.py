"""A page is sent topic by topic: what fails is told, what was acknowledged is kept, a broken producer is replaced."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, UnknownTopicOrPartitionError

from shared.ids import new_id
from shared.messaging.outbox.publisher import Publisher
from shared.messaging.topics import create_topics


def row_of(row_id: int, topic: str) -> asyncpg.Record:
    """A row of the outbox as the relay fetches it."""
    row: asyncpg.Record = {  # type: ignore[assignment]  # all of a record that is used
        "id": row_id,
        "event_id": new_id(),
        "topic": topic,
        "key": "key",
        "sequence": row_id,
        "type": "user.created",
        "source": "urn:orderly:users",
        "dataschema": "urn:orderly:event:user.created",
        "occurred_at": datetime.now(UTC),
        "traceparent": None,
        "tracestate": None,
        "payload": b"{}",
    }
    return row


@pytest.fixture
async def publisher(kafka_bootstrap_servers: str, topic_prefix: str) -> AsyncIterator[Publisher]:
    """One whose topic `narrow` takes no event."""
    await create_topics(kafka_bootstrap_servers, prefix=topic_prefix)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(f"{topic_prefix}narrow", 1, 1, topic_configs={"max.message.bytes": "100"})])
    await admin.close()
    publisher = Publisher(bootstrap_servers=kafka_bootstrap_servers, client_id="test", topic_prefix=topic_prefix)
    yield publisher
    await publisher.close()


async def test_after_an_error_the_producer_is_replaced_and_what_was_acknowledged_is_kept(publisher: Publisher) -> None:
    producer = await publisher._connected()
    sent, failed = await publisher.publish([row_of(1, "users"), row_of(2, "narrow"), row_of(3, "users")])
    assert [one.row_id for one in sent] == [1, 3]
    assert {topic: type(error) for topic, error in failed.items()} == {"narrow": MessageSizeTooLargeError}
    assert await publisher._connected() is not producer
    sent, failed = await publisher.publish([row_of(4, "users")])
    assert ([one.row_id for one in sent], failed) == ([4], {})


async def test_a_topic_that_does_not_exist_costs_no_producer(publisher: Publisher) -> None:
    producer = await publisher._connected()
    sent, failed = await publisher.publish([row_of(1, "missing"), row_of(2, "users")])
    assert [one.row_id for one in sent] == [2]
    assert {topic: type(error) for topic, error in failed.items()} == {"missing": UnknownTopicOrPartitionError}
    assert await publisher._connected() is producer


async def test_while_kafka_is_away_every_topic_of_the_page_has_failed() -> None:
    publisher = Publisher(bootstrap_servers="127.0.0.1:1", client_id="test")
    sent, failed = await publisher.publish([row_of(1, "users"), row_of(2, "orders")])
    assert sent == []
    assert {topic: type(error) for topic, error in failed.items()} == dict.fromkeys(
        ("users", "orders"), KafkaConnectionError
    )
