"""The lag of consumer groups: how many records of a topic each of them has not committed yet."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import UnknownTopicOrPartitionError

from shared.messaging.kafka import KafkaConnection

_MEMBERS = 5
"""The field of a described group that lists its members."""
_METADATA = -2
"""The field of a member that holds its subscription."""


class TopicLag:
    """The consumer groups of one topic, and their lag. Raises: KafkaError from its methods."""

    def __init__(self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer, *, topic: str) -> None:
        self._admin = admin
        self._consumer = consumer
        self._topic = topic

    async def groups(self) -> list[str]:
        """Return the groups that have committed offsets of the topic, or have a member that is subscribed to it."""
        groups = sorted(name for name, _ in await self._admin.list_consumer_groups())
        return [group for group in groups if await self._committed(group) or await self._is_subscribed(group)]

    async def of(self, groups: Iterable[str]) -> dict[str, int]:
        """Return the lag of each group. Of a partition without a committed offset, all records count."""
        partitions = await self._partitions()
        first: dict[TopicPartition, int] = await self._consumer.beginning_offsets(partitions)
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(partitions)
        lag: dict[str, int] = {}
        for group in groups:
            committed = await self._committed(group)
            lag[group] = sum(
                # Records past their retention are gone, and a broker may have lost what a group had committed.
                max(0, end - max(committed.get(partition, 0), first[partition]))
                for partition, end in ends.items()
            )
        return lag

    async def _partitions(self) -> list[TopicPartition]:
        topics = {each["topic"]: each["partitions"] for each in await self._admin.describe_topics()}
        if self._topic not in topics:
            # A broker that has just started may not know it. Without its partitions, no group would seem to lag.
            raise UnknownTopicOrPartitionError(self._topic)
        return [TopicPartition(self._topic, one["partition"]) for one in topics[self._topic]]

    async def _committed(self, group: str) -> dict[TopicPartition, int]:
        offsets = await self._admin.list_consumer_group_offsets(group)
        return {partition: each.offset for partition, each in offsets.items() if partition.topic == self._topic}

    async def _is_subscribed(self, group: str) -> bool:
        (described,) = await self._admin.describe_consumer_groups([group])
        metadata = [member[_METADATA] for member in described.groups[0][_MEMBERS]]
        return any(self._topic in ConsumerProtocolMemberMetadata.decode(each).subscription for each in metadata if each)


@asynccontextmanager
async def topic_lag(admin: AIOKafkaAdminClient, kafka: KafkaConnection, *, topic: str) -> AsyncIterator[TopicLag]:
    """Yield a topic's lag. Raises: KafkaError if the cluster does not answer."""
    async with AIOKafkaConsumer(**kafka.client_options(), enable_auto_commit=False) as consumer:
        yield TopicLag(admin, consumer, topic=topic)
