"""The Kafka topics: creation of those that are declared, their numbers of partitions, and more partitions."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaTimeoutError, TopicAlreadyExistsError, for_code

from shared.events.topics import TOPICS
from shared.messaging.kafka import KafkaConnection

logger = structlog.get_logger(__name__)

MAX_REPLICAS = 3
LEADER_POLL_SECONDS = 0.1
"""Interval at which new partitions are looked up until each has a leader."""
LEADER_TIMEOUT_SECONDS = 30.0
"""Upper bound of that wait. Whoever moves keys holds the relays' leases meanwhile, and nothing is published."""


@asynccontextmanager
async def admin_client(kafka: KafkaConnection) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield a connected admin client. Raises: KafkaError if the cluster does not answer."""
    admin = AIOKafkaAdminClient(**kafka.client_options())
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def create_topics(kafka: KafkaConnection) -> None:
    """Create the declared topics that do not exist yet, replicated to at most MAX_REPLICAS brokers.

    Does not change existing topics: logs which ones have fewer partitions than declared. Raises: KafkaError if the
    cluster does not answer or rejects a topic.
    """
    async with admin_client(kafka) as admin:
        brokers = len((await admin.describe_cluster())["brokers"])
        replicas = min(brokers, MAX_REPLICAS)
        response = await admin.create_topics(
            [
                NewTopic(
                    kafka.topic_prefix + topic.name,
                    topic.partitions,
                    replicas,
                    topic_configs=topic.config(replicas=replicas),
                )
                for topic in TOPICS
            ]
        )
        existing = await count_partitions(admin, (kafka.topic_prefix + topic.name for topic in TOPICS))
    for name, code, message in (error[:3] for error in response.topic_errors):
        if code == TopicAlreadyExistsError.errno:
            continue
        if code:
            raise for_code(code)(f"{name}: {message}")
        logger.info("topic_created", topic=name)
    for topic in TOPICS:
        # More partitions mean another partition for most keys, so an operator decides when.
        name = kafka.topic_prefix + topic.name
        if existing.get(name, topic.partitions) < topic.partitions:
            logger.warning(
                "topic_has_fewer_partitions",
                topic=name,
                existing=existing[name],
                declared=topic.partitions,
                command=f"topics set-partitions {topic.name} {topic.partitions}",
            )


async def count_partitions(admin: AIOKafkaAdminClient, topics: Iterable[str]) -> dict[str, int]:
    """Return the number of partitions of each of these topics that exists."""
    # Naming a topic in the request would create it on a broker that creates topics by itself.
    found = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
    return {topic: len(found[topic]) for topic in topics if topic in found}


async def add_partitions(admin: AIOKafkaAdminClient, topic: str, *, total: int) -> None:
    """Add partitions up to `total`, and wait until each has a leader. Raises: KafkaError, also after a time-out."""
    await admin.create_partitions({topic: NewPartitions(total)})
    deadline = time.monotonic() + LEADER_TIMEOUT_SECONDS
    while await _count_led_partitions(admin, topic) < total:
        if time.monotonic() >= deadline:
            raise KafkaTimeoutError(f"some partitions of {topic} have no leader after {LEADER_TIMEOUT_SECONDS:.0f} s")
        await asyncio.sleep(LEADER_POLL_SECONDS)


async def _count_led_partitions(admin: AIOKafkaAdminClient, topic: str) -> int:
    # A broker that has just started may not know the topic.
    described = {each["topic"]: each["partitions"] for each in await admin.describe_topics()}
    return sum(partition["leader"] >= 0 for partition in described.get(topic, ()))
