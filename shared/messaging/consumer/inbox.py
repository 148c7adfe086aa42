"""The inbox: which events a consumer has applied, kept in the transaction of their effects."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncSession

from shared.messaging.envelope import EventContext
from shared.messaging.storage.daily_partitions import INBOX_RETENTION
from shared.transient_errors import TransientError

_UNIQUE_VIOLATION = "23505"

# Nearly all are new, so return the duplicates. An insert with ON CONFLICT DO NOTHING takes twice as long.
# The array goes through a subquery: knowing the array's length, the planner would read the whole partition.
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
    SELECT key, sequence, dead_letters FROM inbox_sequence
    WHERE consumer = :consumer AND topic = :topic AND key = ANY(CAST(:keys AS text[]))
    ORDER BY key
    FOR UPDATE
""")

_ADVANCE = sa.text("""
    INSERT INTO inbox_sequence (consumer, topic, key, sequence, dead_letters)
    SELECT :consumer, :topic, key, sequence, dead_letters
    FROM unnest(CAST(:keys AS text[]), CAST(:sequences AS bigint[]), CAST(:dead_letters AS integer[]))
    AS p (key, sequence, dead_letters)
    ORDER BY key
    ON CONFLICT (consumer, topic, key) DO UPDATE SET
        sequence = greatest(inbox_sequence.sequence, excluded.sequence),
        dead_letters = inbox_sequence.dead_letters + excluded.dead_letters
""")


class ClaimedMeanwhile(TransientError):
    """Another process has applied some of these events since they were looked up."""


class Position(NamedTuple):
    """A consumer's progress in one key: the last sequence it has seen, and the number of the key's dead letters."""

    sequence: int = 0
    dead_letters: int = 0


def remembered_days() -> frozenset[date]:
    """Return the days for which the inbox keeps ids, up to tomorrow, because clocks differ."""
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    return frozenset(tomorrow - timedelta(days=n) for n in range(INBOX_RETENTION.days + 1))


async def lock_positions(
    session: AsyncSession, *, consumer: str, topic: str, keys: Iterable[str]
) -> dict[str, Position]:
    """Lock the positions of the keys that the consumer has seen, until the transaction ends; replay does the same."""
    rows = await session.execute(_LOCK, {"consumer": consumer, "topic": topic, "keys": sorted(set(keys))})
    return {key: Position(sequence, dead_letters) for key, sequence, dead_letters in rows}


async def claim(session: AsyncSession, *, consumer: str, contexts: Iterable[EventContext]) -> set[UUID]:
    """Insert the ids of these events as applied; return those that the inbox knew before.

    The caller has locked the positions of their keys, so no other process works on the same events; but a key that is
    new to the consumer has no position to lock yet. Leave out events whose day is outside `remembered_days`: they may
    have no daily partition, and the insert would fail.

    Raises: ClaimedMeanwhile if another transaction claimed one of them first, and has committed.
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
        except exc.IntegrityError as error:
            if getattr(error.orig, "sqlstate", None) != _UNIQUE_VIOLATION:
                raise
            raise ClaimedMeanwhile from error
    return known


async def advance(session: AsyncSession, *, consumer: str, topic: str, positions: Mapping[str, Position]) -> None:
    """Move keys to a later sequence, and add `dead_letters`, which may be negative, to their counts."""
    if not positions:
        return
    keys = list(positions)
    await session.execute(
        _ADVANCE,
        {
            "consumer": consumer,
            "topic": topic,
            "keys": keys,
            "sequences": [positions[key].sequence for key in keys],
            "dead_letters": [positions[key].dead_letters for key in keys],
        },
    )
