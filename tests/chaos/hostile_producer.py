"""The fault of a hostile producer, which names the keys of honest events, and what it sent to each topic."""

from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import asyncpg
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError

from shared.connection_urls import dsn_of
from shared.messaging.envelope import Place
from shared.messaging.kafka import KafkaConnection
from tests.chaos.hostile_records import HostileRecord, HostileRecords, send_hostile
from tests.chaos.partition_faults import PublishedTopic
from tests.harness.kafka_topics import read_topic

BURST_RECORDS = 300
MAX_KEYS = 200
"""Upper bound of the honest keys that the records of a burst name."""
REQUEST_TIMEOUT_MS = 5_000
"""Time for a broker that is down; then the rest of the burst is given up."""

Content: TypeAlias = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]

_KEYS = "SELECT key FROM event_stream WHERE topic = $1 ORDER BY key DESC LIMIT $2"


@dataclass
class HostileProducer:
    """Sends hostile records, and recognises them.

    They all name honest keys, so none may be applied: those that are no events of the topic's producer become dead
    letters, the others are of unknown types and ignored. Their contents are registered before they are sent. Offsets
    are not enough: a record may be in the topic although its acknowledgement was lost.
    """

    kafka: KafkaConnection
    _sent: set[Content] = field(default_factory=set)

    async def send_burst(self, topic: PublishedTopic, *, seed: int, records: int = BURST_RECORDS) -> int:
        """Send records that name the topic's latest keys, which its service's database knows; return how many.

        Gives up if Kafka takes no more, and then does not know how many have arrived: it returns 0. Raises: errors of
        the database.
        """
        connection = await asyncpg.connect(dsn_of(topic.database_url), timeout=5)
        try:
            keys = [row["key"] for row in await connection.fetch(_KEYS, topic.name, MAX_KEYS)]
        finally:
            await connection.close()
        if not keys:
            return 0
        hostile = HostileRecords(topic.name, seed=seed, honest_keys=keys, honest_share=1)
        producer = AIOKafkaProducer(**self.kafka.client_options(), request_timeout_ms=REQUEST_TIMEOUT_MS)
        with suppress(KafkaError):
            async with producer:
                await send_hostile(
                    producer,
                    hostile,
                    topic=self.kafka.topic_prefix + topic.name,
                    records=records,
                    before_sending=self._register,
                )
            return records
        return 0

    def has_sent(self, record: "ConsumerRecord[bytes | None, bytes | None]") -> bool:
        """Return whether a record of a topic has the content of one that was sent."""
        return _content(HostileRecord(record.key, record.value, list(record.headers))) in self._sent

    async def places(self, topic: str) -> AbstractSet[Place]:
        """Return where the records are in a topic."""
        if not self._sent:
            return frozenset()
        records = await read_topic(self.kafka.bootstrap_servers, self.kafka.topic_prefix + topic)
        return {(record.partition, record.offset) for record in records if self.has_sent(record)}

    def _register(self, record: HostileRecord) -> None:
        self._sent.add(_content(record))


def _content(record: HostileRecord) -> Content:
    return record.key, record.value, tuple((name, value) for name, value in record.headers)
