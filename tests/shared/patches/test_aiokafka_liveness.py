"""The signs of life of an aiokafka consumer."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer

from shared.messaging.kafka import KafkaConnection
from shared.messaging.topics import create_topics
from shared.patches.aiokafka_liveness import coordination_has_ended, idle_seconds


@pytest.fixture
async def consumer(kafka_bootstrap_servers: str, topic_prefix: str) -> AsyncIterator[AIOKafkaConsumer]:
    await create_topics(KafkaConnection(kafka_bootstrap_servers, topic_prefix))
    async with AIOKafkaConsumer(
        f"{topic_prefix}users", bootstrap_servers=kafka_bootstrap_servers, group_id=f"{topic_prefix}group"
    ) as consumer:
        yield consumer


async def test_coordination_ends_with_its_task(consumer: AIOKafkaConsumer) -> None:
    assert not coordination_has_ended(consumer)
    await consumer._coordinator.close()
    assert coordination_has_ended(consumer)


async def test_a_poll_ends_the_idle_time(consumer: AIOKafkaConsumer) -> None:
    await asyncio.sleep(0.1)
    assert idle_seconds(consumer) >= 0.1
    polled_at = time.monotonic()
    await consumer.getmany(timeout_ms=0)
    assert idle_seconds(consumer) <= time.monotonic() - polled_at
