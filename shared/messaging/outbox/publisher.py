"""Publishing a page of the outbox in explicit Kafka batches, each all or nothing, so that no key gets a gap."""

import asyncio
import struct
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeAlias

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from shared.error_descriptions import describe_error
from shared.messaging import metrics
from shared.messaging.envelope import encode_headers
from shared.messaging.failpoints import failpoint
from shared.messaging.kafka import KafkaConnection
from shared.messaging.spans import PublishedEvents, Trace

logger = structlog.get_logger(__name__)

PublishError: TypeAlias = KafkaError | OSError
PartitionsOf: TypeAlias = Callable[[str, int], Awaitable[int]]
"""Returns the number of partitions over which a topic's keys are hashed, given how many Kafka has."""

BATCH_BYTES = 900_000
"""Upper bound of a Kafka batch: below the topics' max.message.bytes of 1 MiB. An event is at most half a MiB."""
SEND_TIMEOUT_SECONDS = 15.0
"""Upper bound of the time to connect, and of the time until Kafka acknowledges a batch."""
CLOSE_TIMEOUT_SECONDS = 5.0
METADATA_TIMEOUT_SECONDS = 0.5
"""Upper bound of the time to look up a topic. Short, because a missing topic delays the other topics of its page."""

_MURMUR_MULTIPLIER = 0x5BD1E995


class Acknowledged(NamedTuple):
    """An outbox row that all in-sync replicas have stored."""

    row_id: int
    partition: int
    offset: int


class PartitionsMissing(KafkaError):  # type: ignore[misc]  # aiokafka has no types
    """The topic has fewer partitions than its keys are hashed over."""

    def __init__(self, topic: str, *, existing: int, needed: int) -> None:
        super().__init__(f"{topic} has {existing} partitions and needs {needed}: see docs/runbooks/partitions.md")


class Publisher:
    """An idempotent producer, replaced after an error and with time-outs around its calls.

    aiokafka's producer stays broken after OutOfOrderSequence, and waits without limit while Kafka is unreachable.
    """

    def __init__(self, kafka: KafkaConnection, *, client_id: str, idempotent: bool = True) -> None:
        self._connection = kafka.client_options()
        self._idempotent = idempotent
        self._client_id = client_id
        self._topic_prefix = kafka.topic_prefix
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._reported: set[tuple[str, int]] = set()

    async def publish(
        self, rows: Sequence[asyncpg.Record], *, partitions_of: PartitionsOf
    ) -> tuple[list[Acknowledged], dict[str, PublishError]]:
        """Publish rows in their order; return the acknowledged rows, and the error of each topic that failed.

        Raises: errors of `partitions_of`, before anything is sent.
        """
        try:
            producer = await self._connected()
        except (KafkaError, OSError) as error:
            return [], {row["topic"]: error for row in rows}
        by_topic: dict[str, list[asyncpg.Record]] = defaultdict(list)
        for row in rows:
            by_topic[row["topic"]].append(row)
        failed: dict[str, PublishError] = {}
        partitions: dict[str, int] = {}
        for topic in by_topic:
            number = await self._partitions(producer, topic, partitions_of)
            if isinstance(number, int):
                partitions[topic] = number
            else:
                failed[topic] = number
        outcomes = await asyncio.gather(
            *(self._send_topic(producer, topic, by_topic[topic], count) for topic, count in partitions.items())
        )
        failed |= {topic: error for topic, (_, error) in zip(partitions, outcomes, strict=True) if error is not None}
        # A topic that does not exist, or has too few partitions, does not harm the producer.
        if any(not isinstance(error, UnknownTopicOrPartitionError | PartitionsMissing) for error in failed.values()):
            await self.close()
        return [one for acknowledged, _ in outcomes for one in acknowledged], failed

    async def close(self) -> None:
        """Close the producer within a time-out; the next page gets a new one."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        metrics.PRODUCER_RESETS.inc()
        await _close(producer)

    async def ping(self) -> None:
        """Check that Kafka answers. Raises: PublishError."""
        producer = await self._connected()
        await producer.client.fetch_all_metadata()

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._connection,
                    client_id=self._client_id,
                    acks="all",
                    enable_idempotence=self._idempotent,
                    max_batch_size=BATCH_BYTES,
                    request_timeout_ms=int(SEND_TIMEOUT_SECONDS * 1000),
                    metadata_max_age_ms=60_000,
                )
                try:
                    async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                        await producer.start()
                except BaseException:
                    await _close(producer)
                    raise
                self._producer = producer
            return self._producer

    async def _partitions(
        self, producer: AIOKafkaProducer, topic: str, partitions_of: PartitionsOf
    ) -> int | PublishError:
        """Return the number of partitions over which the topic's keys are hashed, or why it cannot be published to."""
        existing = await self._existing(producer, topic)
        if not isinstance(existing, int):
            return existing
        needed = await partitions_of(topic, existing)
        if existing < needed:
            # The new partitions may be younger than what the producer knows of the cluster.
            existing = await self._existing(producer, topic, refresh=True)
            if not isinstance(existing, int):
                return existing
            if existing < needed:
                return PartitionsMissing(topic, existing=existing, needed=needed)
        if existing > needed and (topic, existing) not in self._reported:
            self._reported.add((topic, existing))
            logger.warning("partitions_unused", topic=topic, existing=existing, used=needed)
        return needed

    async def _existing(self, producer: AIOKafkaProducer, topic: str, *, refresh: bool = False) -> int | PublishError:
        """Return the topic's number of partitions in Kafka, or why it is unknown."""
        try:
            async with asyncio.timeout(METADATA_TIMEOUT_SECONDS):
                if refresh:
                    await producer.client.force_metadata_update()
                return len(await producer.partitions_for(self._topic_prefix + topic))
        except TimeoutError:
            # aiokafka would ask for the topic without limit. The producer itself still works.
            return UnknownTopicOrPartitionError(topic)
        except (KafkaError, OSError) as error:
            return error

    async def _send_topic(
        self, producer: AIOKafkaProducer, topic: str, rows: Sequence[asyncpg.Record], partitions: int
    ) -> tuple[list[Acknowledged], PublishError | None]:
        groups: dict[int, list[asyncpg.Record]] = defaultdict(list)
        for row in rows:
            groups[partition_of(row["key"].encode(), partitions)].append(row)
        outcomes = await asyncio.gather(
            *(self._send_partition(producer, topic, partition, group) for partition, group in groups.items())
        )
        sent = [one for acknowledged, _ in outcomes for one in acknowledged]
        return sent, next((error for _, error in outcomes if error is not None), None)

    async def _send_partition(
        self, producer: AIOKafkaProducer, topic: str, partition: int, rows: Sequence[asyncpg.Record]
    ) -> tuple[list[Acknowledged], PublishError | None]:
        """Send one batch after the other, and stop at the first that fails: later events must not overtake it."""
        sent: list[Acknowledged] = []
        spans = PublishedEvents(topic, partition)
        start = 0
        try:
            while start < len(rows):
                batch = producer.create_batch()
                end = start
                while end < len(rows) and _append(batch, rows[end], spans.trace_of(rows[end])):
                    end += 1
                batch.close()
                async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                    future = await producer.send_batch(batch, self._topic_prefix + topic, partition=partition)
                    failpoint("relay.published")
                    metadata = await future
                sent += [
                    Acknowledged(row["id"], partition, metadata.offset + position)
                    for position, row in enumerate(rows[start:end])
                ]
                spans.sent(rows[start:end], offset=metadata.offset)
                start = end
        except (KafkaError, OSError) as error:
            spans.failed(error)
            return sent, error
        return sent, None


async def _close(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await producer.stop()
    except (KafkaError, OSError) as error:
        logger.warning("producer_not_closed", error=describe_error(error))


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition that Kafka's own clients choose for a key."""
    return (_murmur2(key) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    """Hash a key as aiokafka does, in half the time: aiokafka reads the key byte by byte."""
    hashed = 0x9747B28C ^ len(data)
    for word in struct.unpack_from(f"<{len(data) // 4}I", data):
        mixed = word * _MURMUR_MULTIPLIER & 0xFFFFFFFF
        hashed = (hashed * _MURMUR_MULTIPLIER & 0xFFFFFFFF) ^ ((mixed ^ mixed >> 24) * _MURMUR_MULTIPLIER & 0xFFFFFFFF)
    if rest := data[len(data) & ~3 :]:
        hashed = (hashed ^ int.from_bytes(rest, "little")) * _MURMUR_MULTIPLIER & 0xFFFFFFFF
    hashed = (hashed ^ hashed >> 13) * _MURMUR_MULTIPLIER & 0xFFFFFFFF
    return hashed ^ hashed >> 15


def _append(batch: object, row: asyncpg.Record, trace: Trace) -> bool:
    """Append a row to a batch; return False if the batch is full."""
    headers = encode_headers(
        event_id=row["event_id"],
        event_type=row["type"],
        source=row["source"],
        dataschema=row["dataschema"],
        occurred_at=row["occurred_at"],
        key=row["key"],
        sequence=row["sequence"],
        traceparent=trace.traceparent,
        tracestate=trace.tracestate,
    )
    appended = batch.append(  # type: ignore[attr-defined]  # aiokafka has no types
        key=row["key"].encode(),
        value=row["payload"],
        timestamp=int(row["occurred_at"].timestamp() * 1000),
        headers=headers,
    )
    return appended is not None
