"""Storing dead letters: the event waits for an operator, and later events of its key queue behind it."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.envelope import Received, headers_as_text

_STORE = sa.text("""
    INSERT INTO dead_letter (
        consumer, topic, partition, "offset", key, event_id, type, sequence, headers, payload, reason, error
    ) VALUES (
        :consumer, :topic, :partition, :offset, :key, :event_id, :type, :sequence,
        CAST(:headers AS jsonb), :payload, :reason, :error
    ) ON CONFLICT (consumer, topic, partition, "offset") DO NOTHING
    RETURNING id
""")

# Arrays instead of joins: for a join with a full batch, the planner would read the whole tables.
_PURGE = sa.text("""
    WITH old AS (
        SELECT id FROM dead_letter
        WHERE resolution IS NOT NULL AND resolved_at < now() - CAST(:older_than AS interval)
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


async def store(session: AsyncSession, *, consumer: str, topic: str, dead_letter: NewDeadLetter) -> bool:
    """Store a dead letter in the caller's transaction; return False if this very record is one already.

    `topic` is the declared one, without a deployment's prefix.
    """
    received, context = dead_letter.received, dead_letter.received.context
    row = await session.execute(
        _STORE,
        {
            "consumer": consumer,
            "topic": topic,
            "partition": received.partition,
            "offset": received.offset,
            "key": received.key,
            "event_id": context.event_id if context else None,
            "type": context.type if context else None,
            "sequence": context.sequence if context else None,
            "headers": json.dumps(headers_as_text(received.headers)),
            "payload": received.value,
            "reason": dead_letter.reason.value,
            "error": dead_letter.error,
        },
    )
    return row.first() is not None


async def purge_dead_letters(session: AsyncSession, *, older_than: timedelta, limit: int) -> int:
    """Delete one batch of resolved dead letters with their actions; return their number.

    Repeat it, in a transaction each, until it returns 0. A Kafka record that is delivered again afterwards counts as
    new.
    """
    return await session.scalar(_PURGE, {"older_than": older_than, "limit": limit}) or 0
