"""Sequenced parking: a poison event waits aside, and the later events of its key wait behind it."""

import json
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.messaging.envelope import Received, headers_as_text

_PARK = sa.text("""
    INSERT INTO parked_event (
        consumer, topic, partition, "offset", key, event_id, type, sequence, headers, payload, reason, error
    ) VALUES (
        :consumer, :topic, :partition, :offset, :key, :event_id, :type, :sequence,
        CAST(:headers AS jsonb), :payload, :reason, :error
    ) ON CONFLICT (consumer, topic, partition, "offset") DO NOTHING
    RETURNING id
""")

# Through arrays: by a join, a full batch would have the planner read the whole tables.
_FORGET = sa.text("""
    WITH old AS (
        SELECT id FROM parked_event
        WHERE resolution IS NOT NULL AND resolved_at < now() - CAST(:older_than AS interval)
        ORDER BY resolved_at LIMIT :limit
    ), actions AS (
        DELETE FROM parked_event_action WHERE parked_event_id = ANY(ARRAY(SELECT id FROM old))
    ), events AS (
        DELETE FROM parked_event WHERE id = ANY(ARRAY(SELECT id FROM old)) RETURNING id
    )
    SELECT count(*) FROM events
""")


class ParkReason(StrEnum):
    """Why an event was not applied."""

    UNDECODABLE = "undecodable"
    INVALID = "invalid"
    REFUSED = "refused"
    RETRYING = "retrying"
    """The handler failed for a reason of its own; the drain tries it again, later each time."""
    TRIES_USED_UP = "tries_used_up"
    TOO_OLD = "too_old"
    OUT_OF_ORDER = "out_of_order"
    BEHIND = "behind"


@dataclass(frozen=True)
class Parked:
    """An event that is to be parked."""

    received: Received
    reason: ParkReason
    error: str | None = None


async def park(session: AsyncSession, *, consumer: str, topic: str, parked: Parked) -> bool:
    """Put an event aside in the caller's transaction; False when this very record was parked before.

    `topic` is the declared one, without a deployment's prefix.
    """
    received, context = parked.received, parked.received.context
    row = await session.execute(
        _PARK,
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
            "reason": parked.reason.value,
            "error": parked.error,
        },
    )
    return row.first() is not None


async def forget_resolved(session: AsyncSession, *, older_than: timedelta, limit: int) -> int:
    """Delete one batch of resolved events with the record of what was done; repeat, a transaction each, until 0.

    A record of Kafka that comes again after that is taken for a new one.
    """
    return await session.scalar(_FORGET, {"older_than": older_than, "limit": limit}) or 0
