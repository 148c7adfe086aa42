"""The Kafka topics, with the service that produces each, their partitions and retention."""

from dataclasses import dataclass
from datetime import timedelta

CLEANUP_POLICY = "delete"
"""Compaction would keep only the last event of each key, but events are facts, not states."""


def source_of(service: str) -> str:
    """Return the `ce_source` of a service's events."""
    return f"urn:orderly:{service}"


@dataclass(frozen=True)
class Topic:
    """A topic as it is created. `retention` is how far back a new consumer can read."""

    name: str
    producer: str
    """The only service whose events the topic has. Consumers do not apply events of another source."""
    partitions: int
    retention: timedelta

    @property
    def source(self) -> str:
        """The `ce_source` of the topic's events."""
        return source_of(self.producer)

    def config(self, *, replicas: int) -> dict[str, str]:
        """Return the topic's configuration. With three replicas, two must store an event to acknowledge it."""
        return {
            "retention.ms": str(int(self.retention.total_seconds() * 1000)),
            "cleanup.policy": CLEANUP_POLICY,
            "max.message.bytes": str(1024 * 1024),
            "min.insync.replicas": str(max(1, replicas - 1)),
        }


TOPICS = (
    Topic("users", producer="users", partitions=6, retention=timedelta(days=7)),
    Topic("orders", producer="orders", partitions=6, retention=timedelta(days=7)),
    Topic("products", producer="orders", partitions=6, retention=timedelta(days=7)),
    Topic("notifications", producer="notifications", partitions=6, retention=timedelta(days=7)),
)


def topic_named(name: str) -> Topic:
    """Return a declared topic. Raises: ValueError if there is none of that name."""
    for topic in TOPICS:
        if topic.name == name:
            return topic
    raise ValueError(f"the topic {name!r} is not declared")
