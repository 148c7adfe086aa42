"""The Kafka topics, with their partitions and retention."""

from dataclasses import dataclass
from datetime import timedelta

CLEANUP_POLICY = "delete"
"""Compaction would keep only the last event of each key, but events are facts, not states."""


@dataclass(frozen=True)
class Topic:
    """A topic as it is created. `retention` is how far back a new consumer can read."""

    name: str
    partitions: int
    retention: timedelta

    def config(self, *, replicas: int) -> dict[str, str]:
        """Return the topic's configuration. With three replicas, two must store an event to acknowledge it."""
        return {
            "retention.ms": str(int(self.retention.total_seconds() * 1000)),
            "cleanup.policy": CLEANUP_POLICY,
            "max.message.bytes": str(1024 * 1024),
            "min.insync.replicas": str(max(1, replicas - 1)),
        }


TOPICS = (
    Topic("users", partitions=6, retention=timedelta(days=7)),
    Topic("orders", partitions=6, retention=timedelta(days=7)),
    Topic("products", partitions=6, retention=timedelta(days=7)),
    Topic("notifications", partitions=6, retention=timedelta(days=7)),
)
