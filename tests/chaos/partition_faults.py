"""Faults of Kafka partitions: somebody adds partitions with Kafka's tools, or an operator lets keys move to them."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from aiokafka.errors import KafkaError

from shared.database import open_database
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outbox.pages import LeaseLost
from shared.messaging.topics import add_partitions, admin_client, count_partitions
from shared.operations.topics import ConsumersLag, PartitionsNotRaised, Repartition, TopicOperations
from shared.transient_errors import is_transient
from tests.chaos.injector import Injector

MAX_PARTITIONS = 24
"""Two doublings of a topic's six partitions."""
CATCH_UP_SECONDS = 15.0

T = TypeVar("T")


@dataclass(frozen=True)
class PublishedTopic:
    """A topic, and the service whose relays publish it."""

    name: str
    service: str
    database_url: str
    kafka: KafkaConnection
    consumers: Collection[str]


async def add_some(on: Injector[T], topic: PublishedTopic) -> None:
    """Add partitions with Kafka's tools, or run the operators' command beside other faults."""
    if on.rng.random() < 0.5:
        with suppress(KafkaError):
            on.effects["partitions added"] += await partitions_added(topic)
    else:
        on.run_beside(_move_keys(on, topic))


async def partitions_added(topic: PublishedTopic) -> bool:
    """Double the topic's partitions with Kafka's tools, up to MAX_PARTITIONS. No key moves. Raises: KafkaError.

    Doubling keeps the oracle simple: a key moves only to a partition with a higher number.
    """
    name = topic.kafka.topic_prefix + topic.name
    async with admin_client(topic.kafka) as admin:
        existing = (await count_partitions(admin, [name])).get(name, MAX_PARTITIONS)
        if existing >= MAX_PARTITIONS:
            # Also if a broker that has just started does not know the topic.
            return False
        await add_partitions(admin, name, total=existing * 2)
    return True


async def keys_moved(topic: PublishedTopic, *, catch_up_seconds: float = CATCH_UP_SECONDS) -> bool:
    """Do as the command does: let keys move to all partitions. Return False if they have them all already.

    Raises: as `TopicOperations.repartition`, and errors of the database.
    """
    database = open_database(topic.database_url, service=topic.service, pool_size=2)
    topics = TopicOperations(topic.service, database.sessions, topic.kafka, lambda _topic: topic.consumers)
    try:
        (found,) = [each for each in await topics.topics() if each.topic == topic.name]
        total = found.existing or 0
        if found.existing == found.pinned and total < MAX_PARTITIONS:
            total *= 2
        wanted = Repartition(topic.name, total, "chaos", timeout_seconds=catch_up_seconds)
        return await topics.repartition(wanted) is not None
    finally:
        await database.close()


async def _move_keys(on: Injector[T], topic: PublishedTopic) -> None:
    """Give up if the consumers do not catch up, or if another fault is in the way."""
    try:
        on.effects["keys moved"] += await keys_moved(topic)
    except (KafkaError, ConsumersLag, LeaseLost, PartitionsNotRaised) as error:
        on.effects[f"keys not moved: {type(error).__name__}"] += 1
    except Exception as error:
        if not is_transient(error):
            raise
        on.effects["keys not moved: database unavailable"] += 1
