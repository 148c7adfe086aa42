"""The outbox: a transaction's events, written to a table as its last statement.

By then the transaction has locked the rows of its aggregates. Numbering the events locks the row of each key's stream
as well. So for one key both `sequence` and the row's id follow the order of the commits.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from shared.commit_buffer import CommitBuffer
from shared.events.contract import Event
from shared.ids import new_id
from shared.messaging.failpoints import failpoint
from shared.telemetry import current_traceparent, current_tracestate

SHARDS = 1
"""Relay leaders per database. The number is part of the data: raise it only with an empty outbox."""

_INSERT = sa.text("""
    WITH recorded AS (
        SELECT * FROM unnest(
            CAST(:shards AS smallint[]), CAST(:event_ids AS uuid[]), CAST(:topics AS text[]), CAST(:keys AS text[]),
            CAST(:types AS text[]), CAST(:dataschemas AS text[]), CAST(:times AS timestamptz[]),
            CAST(:traceparents AS text[]), CAST(:tracestates AS text[]), :payloads
        ) WITH ORDINALITY
        AS r (shard, event_id, topic, key, type, dataschema, occurred_at, traceparent, tracestate, payload, position)
    ), stream AS (
        INSERT INTO event_stream (topic, key, sequence)
        SELECT topic, key, count(*) FROM recorded GROUP BY topic, key ORDER BY topic, key
        ON CONFLICT (topic, key) DO UPDATE SET sequence = event_stream.sequence + excluded.sequence
        RETURNING topic, key, sequence
    )
    INSERT INTO outbox (
        shard, event_id, topic, key, sequence, type, source, dataschema, occurred_at, traceparent, tracestate, payload
    )
    SELECT r.shard, r.event_id, r.topic, r.key,
           s.sequence + 1 - row_number() OVER (PARTITION BY r.topic, r.key ORDER BY r.position DESC),
           r.type, :source, r.dataschema, r.occurred_at, r.traceparent, r.tracestate, r.payload
    FROM recorded r JOIN stream s USING (topic, key)
    ORDER BY r.position
""").bindparams(sa.bindparam("payloads", type_=ARRAY(BYTEA)))


@dataclass(frozen=True)
class RecordedEvent:
    """An event that waits for its transaction's commit."""

    event_id: UUID
    event: Event
    occurred_at: datetime
    traceparent: str | None
    tracestate: str | None


def record(session: AsyncSession, event: Event) -> UUID:
    """Send `event` if, and only if, the session's transaction commits. Returns the id it will carry.

    A savepoint that is rolled back takes what was recorded in it along.
    """
    recorded = RecordedEvent(
        event_id=new_id(),
        event=event,
        occurred_at=datetime.now(UTC),
        traceparent=current_traceparent(),
        tracestate=current_tracestate(),
    )
    _recorded.add(session, recorded)
    return recorded.event_id


def shard_of(topic: str, key: str) -> int:
    """The relay that sends this key, so that one key has one sender."""
    return zlib.crc32(f"{topic}:{key}".encode()) % SHARDS


def dataschema_of(event_type: str) -> str:
    """The identifier of a type's JSON Schema, as `ce_dataschema` carries it."""
    return f"urn:orderly:event:{event_type}"


def _write(session: Session, recorded: list[RecordedEvent]) -> None:
    """Write a transaction's events, as its last statement."""
    session.flush()
    session.execute(
        _INSERT,
        {
            "source": f"urn:orderly:{session.info['service']}",
            "shards": [shard_of(r.event.topic, r.event.key) for r in recorded],
            "event_ids": [r.event_id for r in recorded],
            "topics": [r.event.topic for r in recorded],
            "keys": [r.event.key for r in recorded],
            "types": [r.event.type for r in recorded],
            "dataschemas": [dataschema_of(r.event.type) for r in recorded],
            "times": [r.occurred_at for r in recorded],
            "traceparents": [r.traceparent for r in recorded],
            "tracestates": [r.tracestate for r in recorded],
            "payloads": [r.event.model_dump_json().encode() for r in recorded],
        },
    )
    failpoint("api.before_commit")


def _wake_relay(session: Session) -> None:
    failpoint("api.committed")
    wake: Callable[[], None] | None = session.info.get("on_events_committed")
    if wake is not None:
        wake()


_recorded = CommitBuffer(_write, committed=_wake_relay, is_last=True)
