"""The contents of a Kafka topic, read without a consumer group."""

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError


async def end_offsets(bootstrap_servers: str, topic: str) -> dict[TopicPartition, int]:
    """Return the next offset of each partition. Raises: UnknownTopicOrPartitionError."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False) as consumer:
        return await _end_offsets(consumer, topic)


async def read_topic(bootstrap_servers: str, topic: str) -> "list[ConsumerRecord[bytes | None, bytes | None]]":
    """Return all records, sorted by partition and offset. Raises: UnknownTopicOrPartitionError."""
    records: list[ConsumerRecord[bytes | None, bytes | None]] = []
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
    ) as consumer:
        ends = await _end_offsets(consumer, topic)
        consumer.assign(list(ends))
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += batch
    return sorted(records, key=lambda record: (record.partition, record.offset))


async def _end_offsets(consumer: AIOKafkaConsumer, topic: str) -> dict[TopicPartition, int]:
    numbers = (await consumer._client.fetch_all_metadata()).partitions_for_topic(topic)
    if not numbers:
        raise UnknownTopicOrPartitionError(topic)
    ends: dict[TopicPartition, int] = await consumer.end_offsets([TopicPartition(topic, number) for number in numbers])
    return ends
