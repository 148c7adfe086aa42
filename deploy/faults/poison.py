"""Poison: records that no consumer can apply, with keys of their own, so that no honest key is blocked."""

import asyncio
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from deploy.faults.parameters import Poison
from deploy.faults.target import Injected, Target
from deploy.local.control_protocol import ControlError
from shared.connection_errors import CONNECTION_ERRORS
from shared.events.topics import Topic, source_of, topic_named
from shared.ids import new_id

if TYPE_CHECKING:
    from shared.messaging.envelope import Headers

EVENT_TYPES = {"users": "user.created", "orders": "order.cancelled", "notifications": "notification.recipient_erased"}
"""A type that every consumer of the topic handles: others are ignored."""
SEND_TIMEOUT_SECONDS = 10
_WAITING = "SELECT count(*) FROM dead_letter WHERE key = ANY($1::text[]) AND resolution IS NULL"
_STORED = "SELECT count(*) FROM dead_letter WHERE key = ANY($1::text[])"


async def send_poison(target: Target, parameters: Poison) -> Injected:
    """Send poison to a topic. Raises: ControlError if Kafka does not take it."""
    topic = topic_named(parameters.topic)
    records = [record for _ in range(parameters.count) for record in poison_records(topic, parameters.kind)]
    await _send(target.services().kafka_bootstrap_servers, target.topic_prefix + topic.name, records)
    keys = list(dict.fromkeys(key for key, _, _ in records))

    async def is_settled() -> bool:
        counts = [await _counts(target, service, keys) for service in topic.consumers]
        return sum(stored for stored, _ in counts) > 0 and sum(waiting for _, waiting in counts) == 0

    return Injected(
        did=f"Sent {len(records)} {parameters.kind} records to {topic.name}.",
        details={"topic": topic.name, "keys": keys, "consumers": list(topic.consumers)},
        has_ended=is_settled,
    )


def poison_records(topic: Topic, kind: str) -> "list[tuple[str, bytes, Headers]]":
    """Return one poisoned record with a fresh key; for a blocked key another one that queues behind the first."""
    key = str(uuid.uuid4())
    if kind == "undecodable":
        return [(key, b"\xff\x00", [("ce_specversion", b"1.0"), ("ce_id", b"\xff\xfe")])]
    source = source_of("stranger") if kind == "foreign" else topic.source
    sequences = (1, 2) if kind == "blocked_key" else (1,)
    return [(key, b'{"poison": true}', _headers(topic, key, source=source, sequence=number)) for number in sequences]


def _headers(topic: Topic, key: str, *, source: str, sequence: int) -> "Headers":
    # Imported here, as below: it imports aiokafka.
    from shared.messaging.envelope import encode_headers  # noqa: PLC0415

    event_type = EVENT_TYPES[topic.name]
    return encode_headers(
        event_id=new_id(),
        event_type=event_type,
        source=source,
        dataschema=f"urn:orderly:event:{event_type}",
        occurred_at=datetime.now(UTC),
        key=key,
        sequence=sequence,
        traceparent=None,
        tracestate=None,
    )


async def _send(bootstrap_servers: str, topic: str, records: "list[tuple[str, bytes, Headers]]") -> None:
    # Imported here: nothing else in the supervisor's process needs it.
    from aiokafka import AIOKafkaProducer  # noqa: PLC0415
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    producer: Any = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
    try:
        async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
            await producer.start()
            for key, value, headers in records:
                await producer.send_and_wait(topic, value=value, key=key.encode(), headers=headers)
    except (KafkaError, OSError) as error:
        raise ControlError("unavailable", f"Kafka does not take the records ({type(error).__name__}).") from error
    finally:
        with suppress(KafkaError, OSError):
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                await producer.stop()


async def _counts(target: Target, service: str, keys: list[str]) -> tuple[int, int]:
    """Return how many dead letters of these keys were stored, and how many wait; some, while the database is away."""
    with suppress(*CONNECTION_ERRORS):
        async with target.connected(service) as connection:
            stored, waiting = await connection.fetchval(_STORED, keys), await connection.fetchval(_WAITING, keys)
            return int(stored), int(waiting)
    return 1, 1
