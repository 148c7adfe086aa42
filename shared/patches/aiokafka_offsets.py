"""aiokafka: the metadata that was committed with an offset. `AIOKafkaConsumer.committed` returns the offset only."""

from collections.abc import Collection

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata


async def committed(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Return what the group has committed of partitions; nothing of those without a commit. Raises: KafkaError."""
    found: dict[TopicPartition, OffsetAndMetadata] = await consumer._coordinator.fetch_committed_offsets(  # noqa: SLF001
        list(partitions)
    )
    return found
