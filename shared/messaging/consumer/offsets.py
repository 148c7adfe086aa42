"""The offsets of applied records, committed to Kafka at most once an interval."""

import asyncio
from collections.abc import Iterable, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from shared.error_descriptions import describe_error
from shared.messaging.envelope import Record
from shared.messaging.failpoints import failpoint
from shared.patches.aiokafka_liveness import Position

logger = structlog.get_logger(__name__)

COMMIT_INTERVAL_SECONDS = 1.0
"""Delay from the first applied record to the commit of its offset. Raised, a killed process gets more records again,
which the inbox knows; lowered, Kafka does more work for each record."""
COMMIT_TIMEOUT_SECONDS = 10.0


class AppliedOffsets:
    """The next offset of each partition whose records were applied, until it is committed."""

    def __init__(self, *, consumer_name: str) -> None:
        self._consumer_name = consumer_name
        self.generation = 0
        """The database's generation, committed with every offset: see `starting_positions`."""
        self._next: dict[TopicPartition, int] = {}
        self._applied: dict[TopicPartition, int] = {}
        self._has_some = asyncio.Event()
        self._committing = asyncio.Lock()

    def begin(self, records: Iterable[Record]) -> None:
        """Note that these records are about to be applied: they count as lag until `add`."""
        for record in records:
            self._applied.setdefault(TopicPartition(record.topic, record.partition), record.offset)

    def add(self, records: Iterable[Record]) -> None:
        """Add records whose effects are committed, each partition in order."""
        for record in records:
            partition = TopicPartition(record.topic, record.partition)
            self._next[partition] = self._applied[partition] = record.offset + 1
        self._has_some.set()

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Drop revoked partitions."""
        for partition in partitions:
            self._next.pop(partition, None)
            self._applied.pop(partition, None)

    def clear(self) -> None:
        """Drop all partitions, because the consumer has ended."""
        self._next, self._applied = {}, {}

    def lag_events(self, positions: Mapping[TopicPartition, Position]) -> int:
        """Return how many records lie between what was applied and the end of each partition."""
        return sum(
            max(0, position.end - self._applied.get(partition, position.next))
            for partition, position in positions.items()
        )

    async def run(self, consumer: AIOKafkaConsumer) -> None:
        """Commit once an interval, as long as there is something to commit. Runs until it is cancelled."""
        while True:
            await self._has_some.wait()
            await asyncio.sleep(COMMIT_INTERVAL_SECONDS)
            await self.commit(consumer)

    async def commit(self, consumer: AIOKafkaConsumer) -> None:
        """Commit now. Does not raise: if Kafka delivers the records again, the inbox knows them."""
        async with self._committing:
            # A fetch may end after a rebalance: what another member has now is delivered to that one again.
            assigned = consumer.assignment()
            offsets = {partition: next_ for partition, next_ in self._next.items() if partition in assigned}
            metadata = str(self.generation)
            self._has_some.clear()
            if not offsets:
                self._next = {}
                return
            try:
                async with asyncio.timeout(COMMIT_TIMEOUT_SECONDS):
                    await consumer.commit({partition: (next_, metadata) for partition, next_ in offsets.items()})
            except (CommitFailedError, IllegalStateError) as error:
                # The group has rebalanced. What is still ours is delivered again.
                self._warn(error)
            except Exception as error:  # noqa: BLE001 - a closed socket raises a RuntimeError; the next interval tries again
                self._warn(error)
                self._has_some.set()
                return
            else:
                failpoint("consumer.acked")
            self._next = {
                partition: next_
                for partition, next_ in self._next.items()
                if partition in assigned and offsets.get(partition) != next_
            }

    def _warn(self, error: Exception) -> None:
        logger.warning("offsets_not_committed", consumer=self._consumer_name, error=describe_error(error))
