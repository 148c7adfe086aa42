"""Storing dead letters: the events wait for an operator."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.driver_statements import DriverStatement, fetch
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.envelope import Place, Received, headers_as_text, without_nul

INITIAL_RETRY_DELAY = timedelta(seconds=5)
"""Delay before the first retry of an event whose handler raised an unexpected error."""

_STORE = DriverStatement("""
    INSERT INTO dead_letter (
        consumer, topic, partition, "offset", key, event_id, type, sequence, headers, payload, reason, error,
        next_try_at
    )
    SELECT :consumer, :topic, partition, "offset", key, event_id, type, sequence, CAST(headers AS jsonb), payload,
           reason, error, clock_timestamp() + retry_delay
    FROM unnest(
        CAST(:partitions AS integer[]), CAST(:offsets AS bigint[]), CAST(:keys AS text[]), CAST(:event_ids AS uuid[]),
        CAST(:types AS text[]), CAST(:sequences AS bigint[]), CAST(:headers AS text[]), CAST(:payloads AS bytea[]),
        CAST(:reasons AS text[]), CAST(:errors AS text[]), CAST(:retry_delays AS interval[])
    ) WITH ORDINALITY AS d (
        partition, "offset", key, event_id, type, sequence, headers, payload, reason, error, retry_delay, position
    )
    ORDER BY position
    ON CONFLICT (consumer, topic, partition, "offset") DO NOTHING
    RETURNING partition, "offset"
""")

# A look-up in the index for each record: for a join with a full batch, the planner would read the whole table.
_STORED = DriverStatement("""
    SELECT p.partition, p."offset"
    FROM unnest(CAST(:partitions AS integer[]), CAST(:offsets AS bigint[])) AS p (partition, "offset"),
    LATERAL (
        SELECT FROM dead_letter d
        WHERE d.consumer = :consumer AND d.topic = :topic AND d.partition = p.partition AND d."offset" = p."offset"
        LIMIT 1
    ) AS stored
""")

# Arrays instead of joins: for a join with a full batch, the planner would read the whole tables.
_PURGE = sa.text("""
    WITH old AS (
        SELECT id FROM dead_letter
        WHERE resolution IS NOT NULL AND resolved_at < :before
        ORDER BY resolved_at LIMIT :limit
    ), actions AS (
        DELETE FROM dead_letter_action WHERE dead_letter_id = ANY(ARRAY(SELECT id FROM old))
    ), purged AS (
        DELETE FROM dead_letter WHERE id = ANY(ARRAY(SELECT id FROM old)) RETURNING id
    )
    SELECT count(*) FROM purged
""")


@dataclass(frozen=True)
class NewDeadLetter:
    """An event that becomes a dead letter."""

    received: Received
    reason: DeadLetterReason
    error: str | None = None

    def log_fields(self) -> dict[str, Any]:
        """Return the fields that the log gets: ids and codes, no data."""
        context = self.received.context
        return {
            "reason": self.reason.value,
            "error": self.error,
            "key": self.received.key,
            "event_id": str(context.event_id) if context else None,
            "type": context.type if context else None,
            "partition": self.received.partition,
            "offset": self.received.offset,
        }


async def stored_places(session: AsyncSession, *, consumer: str, topic: str, events: Sequence[Received]) -> set[Place]:
    """Return the places of the records that are dead letters already, resolved or not."""
    rows = await fetch(
        session,
        _STORED,
        {
            "consumer": consumer,
            "topic": topic,
            "partitions": [event.partition for event in events],
            "offsets": [event.offset for event in events],
        },
    )
    return {(row["partition"], row["offset"]) for row in rows}


async def store_all(
    session: AsyncSession, *, consumer: str, topic: str, dead_letters: Sequence[NewDeadLetter]
) -> set[Place]:
    """Store dead letters in the caller's transaction; return the places of those that were none already.

    `topic` is the declared one, without a deployment's prefix.
    """
    if not dead_letters:
        return set()
    events = [dead_letter.received for dead_letter in dead_letters]
    contexts = [event.context for event in events]
    rows = await fetch(
        session,
        _STORE,
        {
            "consumer": consumer,
            "topic": topic,
            "partitions": [event.partition for event in events],
            "offsets": [event.offset for event in events],
            "keys": [event.key for event in events],
            "event_ids": [context and context.event_id for context in contexts],
            "types": [context and context.type for context in contexts],
            "sequences": [context and context.sequence for context in contexts],
            "headers": [json.dumps(headers_as_text(event.headers)) for event in events],
            "payloads": [event.value for event in events],
            "reasons": [dead_letter.reason.value for dead_letter in dead_letters],
            "errors": [dead_letter.error and without_nul(dead_letter.error) for dead_letter in dead_letters],
            "retry_delays": [
                INITIAL_RETRY_DELAY if dead_letter.reason is DeadLetterReason.RETRYING else None
                for dead_letter in dead_letters
            ],
        },
    )
    return {(row["partition"], row["offset"]) for row in rows}


async def purge_dead_letters(session: AsyncSession, *, before: datetime, limit: int) -> int:
    """Delete one batch of dead letters that were resolved before a time, with their actions; return their number.

    Repeat it, in a transaction each, until it returns 0. A Kafka record that is delivered again afterwards counts as
    new.
    """
    return await session.scalar(_PURGE, {"before": before, "limit": limit}) or 0
