"""Purging event streams: the last numbers of keys that have had no event for long.

A key that comes back must get a higher number than ever before. A topic's floor provides it: the stream of a new key
begins after the floor, and only streams at or below the floor are deleted. Raising the floor and deleting are two
transactions, because a statement that took its snapshot before the floor rose does not see the new floor. If it found
its key deleted all the same, it would use a number again. The purge therefore waits until no such snapshot is left. It
looks at snapshots instead of transaction ids, because a transaction gets its id with its first write, after the
snapshot.
"""

import asyncio
import time
from collections.abc import Mapping
from datetime import date, timedelta
from typing import NamedTuple

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.messaging.storage.daily_partitions import INBOX_RETENTION

logger = structlog.get_logger(__name__)

STREAM_RETENTION = timedelta(days=45)
"""Time since a key's last event. It exceeds the retention of consumers' positions: they begin anew with the key."""
assert INBOX_RETENTION + timedelta(days=14) < STREAM_RETENTION  # noqa: S101 - a consumer may be a topic's retention late
MAX_WAIT_SECONDS = 60.0
"""Time to wait for old snapshots. Then the purge gives up until its next run; the floor stays raised, harmlessly."""
SNAPSHOT_POLL_SECONDS = 0.2
ROUND_ROWS = 50_000
"""Streams for which the floor is raised at once."""
BATCH_ROWS = 1_000
"""Streams deleted per transaction. A new event of one of their keys waits until it commits."""

# The floor rises to the highest number among the streams that this round deletes.
_RAISE_FLOORS = sa.text("""
    WITH idle AS (
        SELECT topic, sequence FROM event_stream WHERE moved_on < :before ORDER BY moved_on LIMIT :limit
    )
    INSERT INTO event_stream_floor AS f (topic, sequence)
    SELECT topic, max(sequence) FROM idle GROUP BY topic ORDER BY topic
    ON CONFLICT (topic) DO UPDATE SET sequence = greatest(f.sequence, excluded.sequence)
    RETURNING topic, sequence, CAST(pg_current_xact_id() AS text) AS raised_by
""")

# Transactions between two statements have no snapshot (except with REPEATABLE READ): their next one sees the floor.
# The comparison of ages is that of 32-bit ids that wrap around.
_HAS_OLDER_SNAPSHOT = sa.text("""
    SELECT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE datid = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND pid <> pg_backend_pid()
        AND age(backend_xmin) >= age(CAST(CAST(CAST(:raised_by AS text) AS xid8) AS xid))
    )
""")

# The floors are those that this purge has waited for: another process may have raised them again meanwhile.
_DELETE = sa.text("""
    WITH deleted AS (
        DELETE FROM event_stream WHERE ctid = ANY(ARRAY(
            SELECT e.ctid FROM event_stream e
            JOIN unnest(CAST(:topics AS text[]), CAST(:floors AS bigint[])) AS f (topic, sequence) USING (topic)
            WHERE e.moved_on < :before AND e.sequence <= f.sequence
            ORDER BY e.moved_on LIMIT :limit FOR UPDATE OF e SKIP LOCKED
        ))
        RETURNING key
    )
    SELECT count(*) FROM deleted
""")


class RaisedFloors(NamedTuple):
    """The floors of topics, as the transaction `raised_by` left them."""

    floors: dict[str, int]
    raised_by: str


async def purge_streams(
    sessions: Sessions, *, today: date, max_wait_seconds: float = MAX_WAIT_SECONDS, round_rows: int = ROUND_ROWS
) -> int:
    """Delete the streams of keys without an event since STREAM_RETENTION; return their number.

    Stops early, and logs it, while a transaction holds a snapshot from before the floors were raised.
    """
    before, total = today - STREAM_RETENTION, 0
    while True:
        async with sessions.begin() as session:
            raised = await _raise_floors(session, before=before, limit=round_rows)
        if raised is None:
            return total
        if not await _no_older_snapshot(sessions, raised.raised_by, max_wait_seconds=max_wait_seconds):
            logger.warning("event_stream_purge_postponed", reason="a transaction holds an old snapshot")
            return total
        deleted = await _delete_idle(sessions, before=before, floors=raised.floors)
        total += deleted
        if not deleted:
            # The rest is locked by transactions that are recording events, and no longer idle once they commit.
            return total


async def _raise_floors(session: AsyncSession, *, before: date, limit: int) -> RaisedFloors | None:
    """Raise the floors over the first streams that are idle since `before`; return None if there is none."""
    rows = (await session.execute(_RAISE_FLOORS, {"before": before, "limit": limit})).all()
    return RaisedFloors({row.topic: row.sequence for row in rows}, rows[0].raised_by) if rows else None


async def _no_older_snapshot(sessions: Sessions, raised_by: str, *, max_wait_seconds: float) -> bool:
    """Wait until no statement can see the floors from before the transaction `raised_by`; return whether none can."""
    deadline = time.monotonic() + max_wait_seconds
    while True:
        # A new transaction for each query: within one, pg_stat_activity does not change.
        async with sessions() as session:
            if not await session.scalar(_HAS_OLDER_SNAPSHOT, {"raised_by": raised_by}):
                return True
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(SNAPSHOT_POLL_SECONDS)


async def _delete_idle(sessions: Sessions, *, before: date, floors: Mapping[str, int]) -> int:
    parameters = {
        "before": before,
        "topics": list(floors),
        "floors": list(floors.values()),
        "limit": BATCH_ROWS,
    }
    total = 0
    while True:
        async with sessions.begin() as session:
            deleted = await session.scalar(_DELETE, parameters) or 0
        total += deleted
        if not deleted:
            return total
