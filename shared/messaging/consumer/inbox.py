"""The inbox: which events a consumer has applied, kept in the transaction of their effects."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.driver_statements import DriverStatement, fetch
from shared.events.topics import topic_named
from shared.messaging.envelope import EventContext, Received
from shared.messaging.storage.daily_partitions import INBOX_RETENTION
from shared.messaging.storage.generation import CURRENT
from shared.transient_errors import TransientError

# Nearly all are new, so return the duplicates. An insert with ON CONFLICT DO NOTHING takes twice as long.
# The array goes through a subquery: knowing the array's length, the planner would read the whole daily partition.
_CLAIMED = """
    known AS (
        SELECT event_id FROM inbox
        WHERE consumer = :consumer AND day = :day AND event_id = ANY(ARRAY(SELECT unnest(CAST(:event_ids AS uuid[]))))
    ), claimed AS (
        INSERT INTO inbox (consumer, day, event_id)
        SELECT :consumer, :day, event_id FROM unnest(CAST(:event_ids AS uuid[])) AS i (event_id)
        WHERE event_id NOT IN (SELECT event_id FROM known) AND {condition}
    )
"""
_CLAIM = DriverStatement(f"WITH {_CLAIMED.format(condition='true')} SELECT event_id FROM known")  # noqa: S608 - constants

# One statement: lock the positions ordered by key and move them, then claim. Counting the moved positions makes
# PostgreSQL lock all of them first: another member that has lost the partition may still be applying the same events.
# The claim's snapshot is older than the locks, so it may miss that member's claims; then the insert fails.
_BEGIN = DriverStatement(f"""
    WITH moved AS (
        INSERT INTO inbox_sequence (consumer, topic, key, sequence, partition, "offset", moved_on)
        SELECT :consumer, :topic, key, sequence, partition, "offset", (clock_timestamp() AT TIME ZONE 'UTC')::date
        FROM unnest(
            CAST(:keys AS text[]), CAST(:sequences AS bigint[]), CAST(:partitions AS integer[]),
            CAST(:offsets AS bigint[])
        ) AS p (key, sequence, partition, "offset")
        ORDER BY key
        ON CONFLICT (consumer, topic, key) DO UPDATE SET
            sequence = greatest(inbox_sequence.sequence, excluded.sequence),
            partition = excluded.partition, "offset" = excluded."offset", moved_on = excluded.moved_on
        RETURNING new.key, old.sequence, old.dead_letters
    ), {_CLAIMED.format(condition="(SELECT count(*) FROM moved) > 0")}
    SELECT key, sequence, dead_letters, CAST(NULL AS uuid) AS event_id FROM moved WHERE sequence IS NOT NULL
    UNION ALL
    SELECT NULL, NULL, NULL, event_id FROM known
    UNION ALL
    SELECT NULL, generation, NULL, NULL FROM ({CURRENT}) AS g
""")  # noqa: S608 - as above

_NEXT_OFFSETS = sa.text("""
    SELECT partition, max("offset") + 1 AS next_offset FROM inbox_sequence
    WHERE moved_on = :day AND consumer = :consumer AND topic = :topic AND partition IS NOT NULL
    GROUP BY partition
""")

_LOCK = sa.text("""
    SELECT sequence, dead_letters FROM inbox_sequence
    WHERE consumer = :consumer AND topic = :topic AND key = :key FOR UPDATE
""")

_ADD_DEAD_LETTERS = sa.text("""
    UPDATE inbox_sequence i SET dead_letters = i.dead_letters + p.added
    FROM unnest(CAST(:keys AS text[]), CAST(:added AS integer[])) AS p (key, added)
    WHERE i.consumer = :consumer AND i.topic = :topic AND i.key = p.key
""")


class ClaimedMeanwhile(TransientError):
    """Another process has applied some of these events since they were looked up."""


class GenerationChanged(Exception):
    """The database has another generation than when the consumer chose where to begin: it may have lost events."""


class Position(NamedTuple):
    """A consumer's progress in one key: the last sequence it has seen of the types that it handles, and the number of
    dead letters that block the key.
    """

    sequence: int = 0
    dead_letters: int = 0


def remembered_days() -> frozenset[date]:
    """Return the days for which the inbox keeps ids, up to tomorrow, because clocks differ."""
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    return frozenset(tomorrow - timedelta(days=n) for n in range(INBOX_RETENTION.days + 1))


class Begun(NamedTuple):
    """A batch whose keys are locked and whose events are claimed."""

    positions: dict[str, Position]
    """The positions before the batch, of the keys that the consumer has seen."""
    known: set[UUID]
    """The events that the consumer had applied or stored as dead letters before."""


async def begin_batch(
    session: AsyncSession,
    *,
    consumer: str,
    topic: str,
    last: Mapping[str, Received],
    contexts: Iterable[EventContext],
    generation: int | None = None,
) -> Begun:
    """Lock the positions of the batch's keys, move them to the batch's last events, and claim its events.

    `last` holds the event of every key that has the highest sequence. `contexts` are the events to claim. Leave out
    events whose day is outside `remembered_days`: they may have no daily partition, and the insert would fail.

    Raises: ClaimedMeanwhile if another transaction claimed one of them first, and has committed; GenerationChanged if
    the database has another generation than the given one.
    """
    by_day: dict[date, dict[UUID, None]] = {}
    for context in contexts:
        by_day.setdefault(context.day, {})[context.event_id] = None
    # Nearly always the only day. The statement begins a batch without claims, too.
    day, event_ids = by_day.popitem() if by_day else (datetime.now(UTC).date(), {})
    with _claiming():
        rows = await fetch(
            session,
            _BEGIN,
            {
                "consumer": consumer,
                "topic": topic,
                "keys": list(last),
                "sequences": [event.context.sequence if event.context else 0 for event in last.values()],
                "partitions": [event.partition for event in last.values()],
                "offsets": [event.offset for event in last.values()],
                "day": day,
                "event_ids": list(event_ids),
            },
        )
    begun, found = Begun({}, set()), None
    for key, sequence, dead_letters, event_id in rows:
        if key is not None:
            begun.positions[key] = Position(sequence, dead_letters)
        elif event_id is not None:
            begun.known.add(event_id)
        else:
            found = sequence
    if generation is not None and found != generation:
        raise GenerationChanged
    for other_day, other_ids in by_day.items():
        begun.known.update(await _claim(session, consumer=consumer, day=other_day, event_ids=list(other_ids)))
    return begun


async def next_offsets(
    session: AsyncSession, *, consumer: str, topic: str, partitions: Collection[int] | None = None
) -> dict[int, int]:
    """Return the offset after the last record that this database has seen, by partition.

    A partition in which no position has moved within the topic's retention has none. Offsets rise with the days, so the
    days are read from the last one on, until all of `partitions` are found: a statement reads the positions of one day.
    """
    found: dict[int, int] = {}
    today = datetime.now(UTC).date()
    # One day more at either end, because clocks differ.
    first, day = today - topic_named(topic).retention - timedelta(days=1), today + timedelta(days=1)
    while day >= first and (partitions is None or not found.keys() >= set(partitions)):
        for row in await session.execute(_NEXT_OFFSETS, {"consumer": consumer, "topic": topic, "day": day}):
            found.setdefault(row.partition, row.next_offset)
        day -= timedelta(days=1)
    return found


async def lock_position(session: AsyncSession, *, consumer: str, topic: str, key: str) -> Position | None:
    """Lock a key's position until the transaction ends, and return it: consumption takes the same lock."""
    row = (await session.execute(_LOCK, {"consumer": consumer, "topic": topic, "key": key})).one_or_none()
    return Position(*row) if row is not None else None


async def add_dead_letters(session: AsyncSession, *, consumer: str, topic: str, added: Mapping[str, int]) -> None:
    """Add to the keys' numbers of dead letters; negative numbers subtract. The caller has locked their positions."""
    if added:
        keys = list(added)
        await session.execute(
            _ADD_DEAD_LETTERS,
            {"consumer": consumer, "topic": topic, "keys": keys, "added": [added[key] for key in keys]},
        )


async def _claim(session: AsyncSession, *, consumer: str, day: date, event_ids: list[UUID]) -> set[UUID]:
    with _claiming():
        rows = await fetch(session, _CLAIM, {"consumer": consumer, "day": day, "event_ids": event_ids})
    return {row["event_id"] for row in rows}


@contextmanager
def _claiming() -> Iterator[None]:
    """Raise ClaimedMeanwhile instead of the violation of the inbox's primary key."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise ClaimedMeanwhile from error
