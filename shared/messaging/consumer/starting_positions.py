"""Positions at which a member begins: those that its group has committed, unless the database went back.

The group commits the database's generation with each offset. If the database has another one by now, it may have lost
events whose offsets were committed. Then the member begins after the last record that the database has seen.
"""

import asyncio
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError
from aiokafka.structs import OffsetAndMetadata

from shared.database import Sessions
from shared.messaging.consumer import inbox
from shared.messaging.storage.generation import current_generation
from shared.patches import aiokafka_offsets

logger = structlog.get_logger(__name__)

UNKNOWN = -1
"""The generation before the first check."""
CHECK_INTERVAL_SECONDS = 30.0
"""Time after which a member that gets no events looks at the generation again."""
CHECK_TIMEOUT_SECONDS = 25.0
"""Upper bound of a check: below the age of a heartbeat at which a member counts as stuck."""


@dataclass
class StartingPositions:
    """Chooses and sets the positions of one member's consumer. It is called between two fetches."""

    consumer: str
    topic: str
    sessions: Sessions
    generation: int = UNKNOWN
    """The database's generation at the last check."""
    _unchecked: set[TopicPartition] = field(default_factory=set)
    _check_at: float = 0.0

    @property
    def is_due(self) -> bool:
        """Return whether to check before the next records are applied."""
        return bool(self._unchecked) or time.monotonic() >= self._check_at

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Note partitions whose positions are those that the group has committed."""
        self._unchecked.update(partitions)

    def revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """Drop partitions that another member gets."""
        self._unchecked.difference_update(partitions)

    def distrust(self) -> None:
        """Check before the next records are applied, because the database has another generation."""
        self._check_at = 0.0

    async def check(self, consumer: AIOKafkaConsumer) -> set[TopicPartition]:
        """Set the positions that are not right, and return their partitions. What was fetched of these is of no use.

        Raises: KafkaError, TimeoutError, errors of the database. Then no record may be applied before another check.
        """
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            return await self._check(consumer)

    async def _check(self, consumer: AIOKafkaConsumer) -> set[TopicPartition]:
        async with self.sessions.begin() as session:
            generation = await current_generation(session)
        # The positions of a running member are of no use either after the generation has risen.
        went_back = self.generation not in (UNKNOWN, generation)
        partitions = set(consumer.assignment()) if went_back else self._unchecked & consumer.assignment()
        committed = await aiokafka_offsets.committed(consumer, partitions) if partitions else {}
        outdated = {
            partition
            for partition in partitions
            if went_back or (partition in committed and _generation_in(committed[partition]) != generation)
        }
        if outdated:
            await self._begin_after_applied(consumer, outdated, committed)
        self.generation = generation
        self._unchecked -= partitions
        self._check_at = time.monotonic() + CHECK_INTERVAL_SECONDS
        return outdated

    async def _begin_after_applied(
        self,
        consumer: AIOKafkaConsumer,
        partitions: Collection[TopicPartition],
        committed: dict[TopicPartition, OffsetAndMetadata],
    ) -> None:
        """Begin after the last record that the database has seen, never after what the group has committed.

        Records of before the topic's retention are gone, so a partition without a younger position is read from its
        beginning; the inbox knows what was applied.
        """
        async with self.sessions() as session:
            applied = await inbox.next_offsets(
                session,
                consumer=self.consumer,
                topic=self.topic,
                partitions=[partition.partition for partition in partitions if partition in committed],
            )
        for partition in partitions:
            try:
                if partition in committed and partition.partition in applied:
                    begin = min(committed[partition].offset, applied[partition.partition])
                    consumer.seek(partition, begin)
                else:
                    begin = 0
                    await consumer.seek_to_beginning(partition)
            except IllegalStateError:
                # Another member has it now.
                continue
            logger.warning(
                "position_set_back",
                consumer=self.consumer,
                partition=partition.partition,
                committed=committed[partition].offset if partition in committed else None,
                begins_at=begin,
            )


def _generation_in(committed: OffsetAndMetadata) -> int:
    """Return the generation that was committed with an offset; 0 if a tool of Kafka's has set it."""
    text: str = committed.metadata
    return int(text) if text.isdecimal() else 0
