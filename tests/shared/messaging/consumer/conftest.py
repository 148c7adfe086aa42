"""The test's topic, and the offsets that its consumer group has committed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from shared.messaging.outbox.publisher import partition_of
from tests.shared.effects import CONSUMER
from tests.shared.messaging.consumer.topic import Topic


@pytest.fixture
async def topic(kafka_bootstrap_servers: str, kafka_topics: str) -> AsyncIterator[Topic]:
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap_servers) as producer:
        yield Topic(producer, f"{kafka_topics}users")


@pytest.fixture
async def committed(
    kafka_bootstrap_servers: str, topic_prefix: str, topic: Topic
) -> AsyncIterator[Callable[[UUID], Awaitable[int | None]]]:
    """`await committed(user_id)`: the offset that the test's group has committed in the partition of that key."""
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka_bootstrap_servers, group_id=f"{topic_prefix}{CONSUMER}", enable_auto_commit=False
    ) as consumer:

        async def offset(user_id: UUID) -> int | None:
            partition = partition_of(str(user_id).encode(), 6)
            found: int | None = await consumer.committed(TopicPartition(topic.name, partition))
            return found

        yield offset
