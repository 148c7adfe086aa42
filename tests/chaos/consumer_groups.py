"""What the chaos asks of Kafka: how far a group is behind, what a topic holds, and to forget a member that is dead."""

from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.protocol.api import Request
from aiokafka.protocol.group import LeaveGroupRequest_v1

_MEMBERS = 5


class _Leave(Request[LeaveGroupRequest_v1]):  # type: ignore[misc]  # aiokafka has no types
    """Leaving in another member's name; aiokafka itself only ever leaves in its own."""

    API_KEY = LeaveGroupRequest_v1.API_KEY

    def __init__(self, group: str, member_id: str) -> None:
        self._group, self._member_id = group, member_id

    def build(self, request_struct_class: type[LeaveGroupRequest_v1]) -> LeaveGroupRequest_v1:
        return request_struct_class(self._group, self._member_id)


@dataclass(frozen=True)
class Lag:
    """Records that a group has not committed, over all partitions, and the ends of these."""

    records: int
    ends: dict[TopicPartition, int]


async def forget_members(bootstrap_servers: str, group: str) -> None:
    """Have every member leave. For members that are dead: otherwise a rebalance waits 10 s for their sessions' ends."""
    async with _admin(bootstrap_servers) as admin:
        coordinator = await admin.find_coordinator(group)
        (described,) = await admin.describe_consumer_groups([group], group_coordinator_id=coordinator)
        for member in described.groups[0][_MEMBERS]:
            await admin._send_request(_Leave(group, member[0]), coordinator)


async def lag_of(bootstrap_servers: str, *, group: str, topic: str) -> Lag:
    """A group that never committed is behind by everything."""
    async with _admin(bootstrap_servers) as admin:
        committed = await admin.list_consumer_group_offsets(group)
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False) as consumer:
        partitions = await _partitions(consumer, topic)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    behind = {
        partition: end - max(0, committed[partition].offset if partition in committed else 0)
        for partition, end in ends.items()
    }
    return Lag(sum(behind.values()), ends)


async def read_topic(bootstrap_servers: str, topic: str) -> "list[ConsumerRecord[bytes | None, bytes | None]]":
    """All of it, partition by partition, each in its order."""
    records: list[ConsumerRecord[bytes | None, bytes | None]] = []
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
    ) as consumer:
        partitions = await _partitions(consumer, topic)
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += batch
    return sorted(records, key=lambda record: (record.partition, record.offset))


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """Raises: UnknownTopicOrPartitionError rather than find nothing to be behind with."""
    numbers = (await consumer._client.fetch_all_metadata()).partitions_for_topic(topic)
    if not numbers:
        raise UnknownTopicOrPartitionError(topic)
    return [TopicPartition(topic, number) for number in sorted(numbers)]


class _admin:  # noqa: N801 - used as a function
    """The admin client as a context."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._client = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)

    async def __aenter__(self) -> AIOKafkaAdminClient:
        await self._client.start()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
