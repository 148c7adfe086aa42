"""The inbox: which events a consumer has applied, kept in the transaction of their effects."""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncSession

from shared.faults import PassingFault
from shared.messaging.envelope import EventContext

RETENTION = timedelta(days=21)
"""How long an id is remembered: the topics' 7 days and a replay window twice as long."""

_UNIQUE_VIOLATION = "23505"

# Nearly all are new, so those that are not are told. An insert that would do nothing on a conflict takes twice as long.
# The array goes through a subquery: a planner that sees how long it is reads the whole partition for it.
_CLAIM = sa.text("""
    WITH known AS (
        SELECT event_id FROM inbox
        WHERE consumer = :consumer AND day = :day AND event_id = ANY(ARRAY(SELECT unnest(CAST(:event_ids AS uuid[]))))
    ), claimed AS (
        INSERT INTO inbox (consumer, day, event_id)
        SELECT :consumer, :day, event_id FROM unnest(CAST(:event_ids AS uuid[])) AS i (event_id)
        WHERE event_id NOT IN (SELECT event_id FROM known)
    )
    SELECT event_id FROM known
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


class ClaimedMeanwhile(PassingFault):
    """Another process has applied some of these events since they were looked for."""


class Position(NamedTuple):
    """How far a consumer is in one key: the last sequence it saw, and how many events of the key are parked."""

    sequence: int = 0
    parked: int = 0


async def lock_positions(
    session: AsyncSession, *, consumer: str, topic: str, keys: Iterable[str]
) -> dict[str, Position]:
    """The positions of the keys seen before, locked until the transaction ends; replay takes the same locks."""
    rows = await session.execute(_LOCK, {"consumer": consumer, "topic": topic, "keys": sorted(set(keys))})
    return {key: Position(sequence=sequence, parked=parked) for key, sequence, parked in rows}


async def claim(session: AsyncSession, *, consumer: str, contexts: Iterable[EventContext]) -> set[UUID]:
    """Remember these events as applied; returns the ids that were known before.

    Their keys' positions are locked by then, so that nobody else is at the same events; but a key that is new to the
    consumer has none yet. Days without a partition raise, so the caller parks what lies outside of RETENTION first.

    Raises: ClaimedMeanwhile after another transaction that was first, and has committed.
    """
    by_day: dict[date, dict[UUID, None]] = {}
    for context in contexts:
        by_day.setdefault(context.day, {})[context.event_id] = None
    known: set[UUID] = set()
    for day, event_ids in sorted(by_day.items()):
        try:
            known.update(
                await session.scalars(_CLAIM, {"consumer": consumer, "day": day, "event_ids": list(event_ids)})
            )
        except exc.IntegrityError as fault:
            if getattr(fault.orig, "sqlstate", None) != _UNIQUE_VIOLATION:
                raise
            raise ClaimedMeanwhile from fault
    return known


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
