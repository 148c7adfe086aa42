"""The Kafka topics: creation of those that are declared, their numbers of partitions, and more partitions."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from shared.events.topics import TOPICS
from shared.messaging.kafka import KafkaConnection

logger = structlog.get_logger(__name__)

MAX_REPLICAS = 3
LEADER_POLL_SECONDS = 0.1
"""Interval at which new partitions are looked up until each has a leader."""


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
    """Add partitions up to `total`, and wait until each has a leader. Raises: KafkaError."""
    await admin.create_partitions({topic: NewPartitions(total)})
    while True:
        (described,) = [each for each in await admin.describe_topics() if each["topic"] == topic]
        if sum(partition["leader"] >= 0 for partition in described["partitions"]) >= total:
            return
        await asyncio.sleep(LEADER_POLL_SECONDS)
