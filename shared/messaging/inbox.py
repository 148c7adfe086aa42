"""The inbox: which events a consumer has applied, kept in the transaction of their effects."""

from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.messaging.envelope import EventContext

RETENTION = timedelta(days=21)
"""How long an id is remembered: the topics' 7 days and a replay window twice as long."""

# Nearly all are new, so those that are not are told: fewer rows to read.
_CLAIM = sa.text("""
    WITH claimed AS (
        INSERT INTO inbox (consumer, day, event_id)
        SELECT :consumer, day, event_id
        FROM unnest(CAST(:days AS date[]), CAST(:event_ids AS uuid[])) AS i (day, event_id)
        ORDER BY day, event_id
        ON CONFLICT DO NOTHING
        RETURNING event_id
    )
    SELECT event_id FROM unnest(CAST(:event_ids AS uuid[])) AS i (event_id)
    EXCEPT SELECT event_id FROM claimed
""")

_LOCK = sa.text("""
    SELECT key, sequence, parked FROM inbox_sequence
    WHERE consumer = :consumer AND topic = :topic AND key = ANY(CAST(:keys AS text[]))
    ORDER BY key
    FOR UPDATE
""")

_ADVANCE = sa.text("""
    INSERT INTO inbox_sequence (consumer, topic, key, sequence, parked)
    SELECT :consumer, :topic, key, sequence, parked
    FROM unnest(CAST(:keys AS text[]), CAST(:sequences AS bigint[]), CAST(:parked AS integer[]))
    AS s (key, sequence, parked)
    ORDER BY key
    ON CONFLICT (consumer, topic, key) DO UPDATE SET
        sequence = greatest(inbox_sequence.sequence, excluded.sequence),
        parked = inbox_sequence.parked + excluded.parked
""")


class Position(NamedTuple):
    """How far a consumer is in one key: the last sequence it saw, and how many events of the key are parked."""

    sequence: int = 0
    parked: int = 0


async def claim(session: AsyncSession, *, consumer: str, contexts: Collection[EventContext]) -> set[UUID]:
    """Remember these events as applied; returns the ids that were known before.

    Another transaction that has claimed one of them and not ended is waited for. Days without a partition raise,
    so the caller parks what lies outside of RETENTION first.
    """
    if not contexts:
        return set()
    rows = await session.scalars(
        _CLAIM,
        {
            "consumer": consumer,
            "days": [context.day for context in contexts],
            "event_ids": [context.event_id for context in contexts],
        },
    )
    return set(rows)


async def lock_positions(
    session: AsyncSession, *, consumer: str, topic: str, keys: Iterable[str]
) -> dict[str, Position]:
    """The positions of the keys seen before, locked until the transaction ends; replay takes the same locks."""
    rows = await session.execute(_LOCK, {"consumer": consumer, "topic": topic, "keys": sorted(set(keys))})
    return {key: Position(sequence=sequence, parked=parked) for key, sequence, parked in rows}


async def advance(session: AsyncSession, *, consumer: str, topic: str, steps: Mapping[str, Position]) -> None:
    """Move keys on: `sequence` is where a key is now, `parked` how many events were parked on the way."""
    if not steps:
        return
    keys = list(steps)
    await session.execute(
        _ADVANCE,
        {
            "consumer": consumer,
            "topic": topic,
            "keys": keys,
            "sequences": [steps[key].sequence for key in keys],
            "parked": [steps[key].parked for key in keys],
        },
    )
