"""The records of Kafka's topics, read at the places where the relays say that they have written them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from deploy.audit.context import RecordPlace
from shared.events.topics import TOPICS
from shared.messaging.kafka import KafkaConnection
from shared.messaging.topics import admin_client, count_partitions

READ_TIMEOUT_SECONDS = 20.0
"""Upper bound of the time without a record from a partition."""
MAX_SKIPPED_RECORDS = 500
"""Records that are read and not wanted before the next wanted one. For more, the consumer seeks."""


class KafkaTopics:
    """Reads records without a consumer group, so that it changes nothing in Kafka."""

    def __init__(self, consumer: AIOKafkaConsumer, *, partitions: Mapping[str, int], prefix: str) -> None:
        """Read with a started consumer. `partitions` are the numbers of those that exist, by topic with its prefix."""
        self._consumer = consumer
        self._partitions = partitions
        self._prefix = prefix

    async def missing(self, places: Sequence[RecordPlace]) -> dict[int, str]:
        """Look for records; return what is wrong, by index in `places`.

        What is older than its topic's first record may be purged, and is left out. Raises: KafkaError.
        """
        by_partition: dict[tuple[str, int], list[int]] = {}
        for index, place in enumerate(places):
            by_partition.setdefault((place.topic, place.partition), []).append(index)
        wrong: dict[int, str] = {}
        for (topic, partition), indexes in sorted(by_partition.items()):
            if partition >= self._partitions.get(self._prefix + topic, 0):
                wrong |= dict.fromkeys(indexes, f"Kafka has no partition {partition} of {topic}")
            else:
                wrong |= await self._missing_of(TopicPartition(self._prefix + topic, partition), indexes, places)
        return wrong

    async def _missing_of(
        self, partition: TopicPartition, indexes: list[int], places: Sequence[RecordPlace]
    ) -> dict[int, str]:
        first, end = await self._range(partition)
        wrong: dict[int, str] = {}
        wanted: dict[int, int] = {}
        for index in indexes:
            offset = places[index].offset
            if offset >= end:
                wrong[index] = f"offset {offset} of partition {partition.partition}, which ends at {end}"
            elif offset >= first:
                wanted[offset] = index
        records = await self._read(partition, sorted(wanted))
        for offset, index in wanted.items():
            found = _event_id_of(records[offset]) if offset in records else "no record"
            if found != places[index].event_id:
                wrong[index] = f"offset {offset} of partition {partition.partition} has {found}"
        return wrong

    async def _range(self, partition: TopicPartition) -> tuple[int, int]:
        """Return the first offset and the one after the last."""
        self._consumer.assign([partition])
        first = await self._consumer.beginning_offsets([partition])
        end = await self._consumer.end_offsets([partition])
        return first[partition], end[partition]

    async def _read(self, partition: TopicPartition, offsets: list[int]) -> dict[int, ConsumerRecord]:
        """Return the records at these offsets. Reads on from one to the next, and seeks over long distances."""
        records: dict[int, ConsumerRecord] = {}
        waiting, position = list(offsets), -MAX_SKIPPED_RECORDS - 1
        while waiting:
            if not 0 <= waiting[0] - position <= MAX_SKIPPED_RECORDS:
                self._consumer.seek(partition, waiting[0])
            record = await self._next(partition)
            position = record.offset + 1
            if record.offset == waiting[0]:
                records[record.offset] = record
            waiting = (
                [offset for offset in waiting if offset > record.offset] if waiting[0] <= record.offset else waiting
            )
        return records

    async def _next(self, partition: TopicPartition) -> ConsumerRecord:
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS):
                return await self._consumer.getone(partition)
        except TimeoutError:
            raise KafkaTimeoutError(f"no record of {partition} within {READ_TIMEOUT_SECONDS:.0f} s") from None


@asynccontextmanager
async def opened_topics(kafka: KafkaConnection) -> AsyncIterator[KafkaTopics]:
    """Connect to Kafka. Raises: KafkaError, OSError."""
    consumer = AIOKafkaConsumer(
        **kafka.client_options(),
        client_id="audit",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=1024 * 1024,
        metadata_max_age_ms=30_000,
    )
    try:
        async with asyncio.timeout(READ_TIMEOUT_SECONDS), admin_client(kafka) as admin:
            names = [kafka.topic_prefix + topic.name for topic in TOPICS]
            partitions = await count_partitions(admin, names)
            await consumer.start()
    except TimeoutError:
        await _stop(consumer)
        raise KafkaTimeoutError("Kafka does not answer") from None
    except (KafkaError, OSError):
        await _stop(consumer)
        raise
    try:
        yield KafkaTopics(consumer, partitions=partitions, prefix=kafka.topic_prefix)
    finally:
        await _stop(consumer)


async def _stop(consumer: AIOKafkaConsumer) -> None:
    try:
        async with asyncio.timeout(5):
            await consumer.stop()
    except (KafkaError, OSError, TimeoutError):
        return


def _event_id_of(record: ConsumerRecord) -> str:
    for name, value in record.headers:
        if name == "ce_id":
            return str(value, "utf-8", "backslashreplace")
    return "a record without an event id"
