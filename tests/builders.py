"""Builders of what tests need more than once."""

from datetime import UTC, datetime
from itertools import count
from uuid import UUID

from shared.events.contract import Event
from shared.ids import new_id
from shared.messaging.envelope import Received, encode_headers, received_of
from shared.messaging.outbox import dataschema_of

_offsets = count()


def received(
    event: Event, *, sequence: int, event_id: UUID | None = None, partition: int = 0, offset: int | None = None
) -> Received:
    """An event as a consumer reads it from Kafka; each call is another record unless `offset` says which."""
    headers = encode_headers(
        event_id=event_id or new_id(),
        event_type=event.type,
        source="urn:orderly:test",
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
        headers={name: value.decode() for name, value in headers},
    )
