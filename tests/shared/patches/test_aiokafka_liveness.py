"""The state of an aiokafka consumer that its public interface does not show."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from shared.messaging.kafka import KafkaConnection
from shared.messaging.topics import create_topics
from shared.patches.aiokafka_liveness import Position, close_connections, has_ended, has_joined, positions
from tests.harness.waiting import until


@pytest.fixture
async def consumer(kafka_bootstrap_servers: str, topic_prefix: str) -> AsyncIterator[AIOKafkaConsumer]:
    await create_topics(KafkaConnection(kafka_bootstrap_servers, topic_prefix))
    async with AIOKafkaConsumer(
        f"{topic_prefix}users",
        bootstrap_servers=kafka_bootstrap_servers,
        group_id=f"{topic_prefix}group",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    ) as consumer:
        yield consumer


async def test_a_consumer_has_ended_with_its_coordination(consumer: AIOKafkaConsumer) -> None:
    assert not has_ended(consumer)
    await consumer._coordinator.close()
    assert has_ended(consumer)


async def test_a_consumer_has_ended_with_its_fetcher(consumer: AIOKafkaConsumer) -> None:
    consumer._fetcher._fetch_task.cancel()
    await asyncio.wait({consumer._fetcher._fetch_task})
    assert has_ended(consumer)


async def test_a_consumer_has_ended_with_its_metadata(consumer: AIOKafkaConsumer) -> None:
    await close_connections(consumer)
    assert has_ended(consumer)


async def test_a_consumer_has_joined_once_the_group_has_assigned_partitions(consumer: AIOKafkaConsumer) -> None:
    async def joined() -> bool:
        return has_joined(consumer)

    await until(joined, what="the group has assigned partitions")
    consumer._subscription.begin_reassignment()
    assert not has_joined(consumer)


async def test_positions_are_known_after_a_fetch(
    consumer: AIOKafkaConsumer, kafka_bootstrap_servers: str, topic_prefix: str
) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap_servers) as producer:
        for _ in range(3):
            await producer.send_and_wait(f"{topic_prefix}users", b"value", partition=2)

    async def has_fetched_all() -> bool:
        await consumer.getmany(timeout_ms=100)
        return positions(consumer).get(TopicPartition(f"{topic_prefix}users", 2)) == Position(next=3, end=3)

    await until(has_fetched_all, what="all records are fetched")
