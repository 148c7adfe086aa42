"""The Kafka topics, with the services that produce and consume each, their partitions and retention."""

from dataclasses import dataclass
from datetime import timedelta

CLEANUP_POLICY = "delete"
"""Compaction would keep only the last event of each key, but events are facts, not states."""


def source_of(service: str) -> str:
    """Return the `ce_source` of a service's events."""
    return f"urn:orderly:{service}"


def consumer_of(service: str, topic: str) -> str:
    """Return the name of a service's consumer of a topic. Its Kafka group has this name too."""
    return f"{service}.{topic}"


@dataclass(frozen=True)
class Topic:
    """A topic as it is created. `retention` is how far back a new consumer can read."""

    name: str
    producer: str
    """The only service whose events the topic has. Consumers do not apply events of another source."""
    consumers: tuple[str, ...]
    """The services that consume the topic."""
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
    Topic("users", producer="users", consumers=("orders", "notifications"), partitions=6, retention=timedelta(days=7)),
    Topic("orders", producer="orders", consumers=("users", "notifications"), partitions=6, retention=timedelta(days=7)),
    Topic("products", producer="orders", consumers=(), partitions=6, retention=timedelta(days=7)),
    Topic(
        "notifications",
        producer="notifications",
        consumers=("users",),
        partitions=6,
        retention=timedelta(days=7),
    ),
)


def topic_named(name: str) -> Topic:
    """Return a declared topic. Raises: ValueError if there is none of that name."""
    for topic in TOPICS:
        if topic.name == name:
            return topic
    raise ValueError(f"the topic {name!r} is not declared")
