"""The one declaration of every Kafka topic: partitions, retention, compaction."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Topic:
    """A topic as it is created. `retention` bounds how far back a new subscriber can start by reading."""

    name: str
    partitions: int
    retention: timedelta
    cleanup_policy: str = "delete"

    def config(self, *, replicas: int) -> dict[str, str]:
        """Topic configuration in Kafka's own names; of three replicas, two must have an event before it counts."""
        return {
            "retention.ms": str(int(self.retention.total_seconds() * 1000)),
            "cleanup.policy": self.cleanup_policy,
            "max.message.bytes": str(1024 * 1024),
            "min.insync.replicas": str(max(1, replicas - 1)),
        }


# Compaction would drop all but a key's last event, and these are facts rather than states: none is compacted.
TOPICS = (
    Topic("users", partitions=6, retention=timedelta(days=7)),
    Topic("orders", partitions=6, retention=timedelta(days=7)),
    Topic("products", partitions=6, retention=timedelta(days=7)),
    Topic("notifications", partitions=6, retention=timedelta(days=7)),
)
