"""The publisher returns acknowledged rows and the errors of failed topics, and replaces a broken producer."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError, UnknownTopicOrPartitionError

from shared.ids import new_id
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outbox.publisher import Publisher


def row_of(row_id: int, topic: str) -> asyncpg.Record:
    """Return a row of the outbox as the relay fetches it."""
    row: asyncpg.Record = {  # type: ignore[assignment]  # the publisher only reads items
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


async def all_of(_topic: str, existing: int) -> int:
    """Hash the keys over all partitions that exist."""
    return existing


@pytest.fixture
async def publisher(kafka_bootstrap_servers: str, kafka_topics: str) -> AsyncIterator[Publisher]:
    """A publisher whose topic `narrow` accepts no event."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(f"{kafka_topics}narrow", 1, 1, topic_configs={"max.message.bytes": "100"})])
    await admin.close()
    publisher = Publisher(KafkaConnection(kafka_bootstrap_servers, kafka_topics), client_id="test")
    yield publisher
    await publisher.close()


async def test_an_error_replaces_the_producer_and_keeps_the_acknowledged_rows(publisher: Publisher) -> None:
    producer = await publisher._connected()
    sent, failed = await publisher.publish(
        [row_of(1, "users"), row_of(2, "narrow"), row_of(3, "users")], partitions_of=all_of
    )
    assert [one.row_id for one in sent] == [1, 3]
    assert {topic: type(error) for topic, error in failed.items()} == {"narrow": MessageSizeTooLargeError}
    assert await publisher._connected() is not producer
    sent, failed = await publisher.publish([row_of(4, "users")], partitions_of=all_of)
    assert ([one.row_id for one in sent], failed) == ([4], {})


async def test_a_missing_topic_does_not_replace_the_producer(publisher: Publisher) -> None:
    producer = await publisher._connected()
    sent, failed = await publisher.publish([row_of(1, "missing"), row_of(2, "users")], partitions_of=all_of)
    assert [one.row_id for one in sent] == [2]
    assert {topic: type(error) for topic, error in failed.items()} == {"missing": UnknownTopicOrPartitionError}
    assert await publisher._connected() is producer


async def test_every_topic_fails_while_kafka_is_unreachable() -> None:
    publisher = Publisher(KafkaConnection("127.0.0.1:1"), client_id="test")
    sent, failed = await publisher.publish([row_of(1, "users"), row_of(2, "orders")], partitions_of=all_of)
    assert sent == []
    assert {topic: type(error) for topic, error in failed.items()} == dict.fromkeys(
        ("users", "orders"), KafkaConnectionError
    )
