"""The outbox: a transaction's events, written to a table by the transaction's last statement.

By then the transaction has locked the rows of its aggregates, and numbering the events locks the stream row of each
key as well. Therefore `sequence` and the row's id both follow the commit order of each key.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from shared.commit_buffer import CommitBuffer
from shared.driver_statements import DriverStatement, fetch_in
from shared.events.contract import Event
from shared.events.topics import source_of
from shared.ids import new_id
from shared.messaging.failpoints import failpoint
from shared.messaging.storage.generation import CURRENT, NUMBER_BITS, renew_in
from shared.telemetry import current_traceparent, current_tracestate, span

SHARDS = 1
"""Number of relay leaders per database. Rows store their shard, so change it only while the outbox is empty."""

# A new key begins after the floor of its topic: the key may have had events before its stream was purged. In a new
# generation every key begins after that one's first number. Without a current generation nothing is inserted.
_INSERT = DriverStatement(f"""
    WITH recorded AS (
        SELECT * FROM unnest(
            CAST(:shards AS smallint[]), CAST(:event_ids AS uuid[]), CAST(:topics AS text[]), CAST(:keys AS text[]),
            CAST(:types AS text[]), CAST(:dataschemas AS text[]), CAST(:times AS timestamptz[]),
            CAST(:traceparents AS text[]), CAST(:tracestates AS text[]), CAST(:payloads AS bytea[])
        ) WITH ORDINALITY
        AS r (shard, event_id, topic, key, type, dataschema, occurred_at, traceparent, tracestate, payload, position)
    ), generation AS (
        SELECT generation << {NUMBER_BITS} AS base FROM ({CURRENT}) AS g
    ), stream AS (
        INSERT INTO event_stream (topic, key, sequence, moved_on)
        SELECT r.topic, r.key, greatest(f.sequence, g.base) + r.events, (clock_timestamp() AT TIME ZONE 'UTC')::date
        FROM (SELECT topic, key, count(*) AS events FROM recorded GROUP BY topic, key) AS r
        CROSS JOIN generation g
        LEFT JOIN event_stream_floor f USING (topic)
        ORDER BY r.topic, r.key
        ON CONFLICT (topic, key) DO UPDATE SET
            sequence = greatest(event_stream.sequence, (SELECT base FROM generation)) + excluded.sequence - greatest(
                (SELECT f.sequence FROM event_stream_floor f WHERE f.topic = excluded.topic),
                (SELECT base FROM generation)
            ),
            moved_on = excluded.moved_on
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
    RETURNING true
""")  # noqa: S608 - constants


@dataclass(frozen=True)
class RecordedEvent:
    """An event whose transaction has not committed yet."""

    event_id: UUID
    event: Event
    occurred_at: datetime
    traceparent: str | None
    tracestate: str | None


def record(session: AsyncSession, event: Event) -> UUID:
    """Publish `event` if, and only if, the session's transaction commits; return the event's id.

    Rolling back a savepoint also drops the events that were recorded inside of it.
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
    """Return the shard of a key: one relay publishes all events of a key."""
    return zlib.crc32(f"{topic}:{key}".encode()) % SHARDS


def dataschema_of(event_type: str) -> str:
    """Return the identifier of a type's JSON Schema: the value of `ce_dataschema`."""
    return f"urn:orderly:event:{event_type}"


def _write(session: Session, recorded: list[RecordedEvent]) -> None:
    """Write a transaction's events to the outbox, after everything else that the transaction writes."""
    session.flush()
    parameters = {
        "source": source_of(session.info["service"]),
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
    }
    # The second time after a restore or a fail-over: the statement itself could not see what another one has raised.
    with span("outbox", attributes={"orderly.events": len(recorded)}):
        while not fetch_in(session, _INSERT, parameters):
            renew_in(session)
    failpoint("api.before_commit")


def _wake_relay(session: Session) -> None:
    failpoint("api.committed")
    wake: Callable[[], None] | None = session.info.get("on_events_committed")
    if wake is not None:
        wake()


_recorded = CommitBuffer(_write, committed=_wake_relay, is_last=True)
