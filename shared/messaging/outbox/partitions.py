"""The numbers of partitions over which the topics' keys are hashed, pinned in the producing service's database.

With another number, most keys would have another partition, and a key's next event could be applied before its last
one. So a topic that gets more partitions in Kafka keeps its number here. `shared.operations.topics` raises it.
"""

from dataclasses import dataclass

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

_ALL = "SELECT topic, partitions FROM topic_partitions"
_PIN = """
    INSERT INTO topic_partitions (topic, partitions) VALUES ($1, $2)
    ON CONFLICT (topic) DO UPDATE SET partitions = topic_partitions.partitions
    RETURNING partitions
"""
_RAISE = sa.text("""
    INSERT INTO topic_partitions (topic, partitions) VALUES (:topic, :partitions)
    ON CONFLICT (topic) DO UPDATE SET partitions = greatest(topic_partitions.partitions, excluded.partitions)
""")


@dataclass(frozen=True)
class TopicPartitions:
    """The number of a topic's partitions in Kafka, and of those that its keys are hashed over; None if unknown."""

    topic: str
    existing: int | None
    pinned: int | None


class PinnedPartitions:
    """The pinned numbers, as one relay knows them from its first page on until it loses the lease."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self._numbers: dict[str, int] | None = None

    async def of(self, topic: str, existing: int) -> int:
        """Return a topic's number. A topic that was never published to is pinned to the `existing` partitions."""
        if self._numbers is None:
            rows = await self._connection.fetch(_ALL)
            self._numbers = {row["topic"]: row["partitions"] for row in rows}
        if topic not in self._numbers:
            async with self._connection.transaction():
                # A crash of PostgreSQL must not undo it: events may have been published accordingly.
                await self._connection.execute("SET LOCAL synchronous_commit = on")
                self._numbers[topic] = await self._connection.fetchval(_PIN, topic, existing)
        return self._numbers[topic]


async def pinned_partitions(session: AsyncSession) -> dict[str, int]:
    """Return the pinned number of every topic that was published to."""
    return {row.topic: row.partitions for row in await session.execute(sa.text(_ALL))}


async def raise_partitions(session: AsyncSession, *, topic: str, partitions: int) -> None:
    """Raise the number of a topic. The caller's transaction has locked the leases of all shards."""
    await session.execute(_RAISE, {"topic": topic, "partitions": partitions})
