"""Builders of events, records and ids."""

from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

from aiokafka import ConsumerRecord

from shared.events.contract import Event
from shared.events.topics import topic_named
from shared.ids import new_id
from shared.messaging.envelope import Received, Record, encode_headers, received_of
from shared.messaging.outbox.outbox import dataschema_of

_offsets = count()


def received(
    event: Event,
    *,
    sequence: int,
    event_id: UUID | None = None,
    partition: int = 0,
    offset: int | None = None,
    source: str | None = None,
) -> Received:
    """Return an event as a consumer reads it from Kafka. Each call returns another record, unless `offset` is given."""
    headers = encode_headers(
        event_id=event_id or new_id(),
        event_type=event.type,
        source=source or topic_named(event.topic).source,
        dataschema=dataschema_of(event.type),
        occurred_at=datetime.now(UTC),
        key=event.key,
        sequence=sequence,
        traceparent=None,
        tracestate=None,
    )
    return received_of(
        topic=event.topic,
        partition=partition,
        offset=next(_offsets) if offset is None else offset,
        key=event.key,
        value=event.model_dump_json().encode(),
        headers=dict(headers),
    )


def record_of(event: Received) -> Record:
    """Return the Kafka record of an event."""
    return ConsumerRecord(
        topic=event.topic,
        partition=event.partition,
        offset=event.offset,
        timestamp=0,
        timestamp_type=0,
        key=event.key.encode(),
        value=event.value,
        checksum=None,
        serialized_key_size=len(event.key),
        serialized_value_size=len(event.value),
        headers=list(event.headers.items()),
    )


def id_of(milliseconds: int, *, version: int = 7, variant: int = 0b10) -> UUID:
    """Return an id of that Unix time; it is the id of an event only with the default version and variant."""
    return UUID(int=(milliseconds << 80) | (version << 76) | (variant << 62) | 1)


def id_of_age(age: timedelta) -> UUID:
    """Return the id of an event that was created that long ago."""
    return id_of(int((datetime.now(UTC) - age).timestamp() * 1000))
