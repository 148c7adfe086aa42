"""Purging consumers' positions of keys that have had no event for long."""

from datetime import date, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from shared.events.topics import TOPICS
from shared.messaging.storage.daily_partitions import INBOX_RETENTION

POSITION_RETENTION = INBOX_RETENTION + max(topic.retention for topic in TOPICS) + timedelta(days=2)
"""Time since a key's last event was consumed. A position tells duplicates and late events from new ones. Without it, an
event that is older than the last one of its key was created before that one was consumed: longer ago than the inbox
remembers, so it becomes a dead letter (`too_old`) instead of being applied again or out of order."""

# A key with dead letters keeps its position: later events queue behind them, and a replay locks it.
# Rows are deleted by ctid: for a join with a full batch, the planner would read the whole table.
_PURGE = sa.text("""
    WITH purged AS (
        DELETE FROM inbox_sequence WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM inbox_sequence WHERE moved_on < :before AND dead_letters = 0
            ORDER BY moved_on LIMIT :limit FOR UPDATE SKIP LOCKED
        ))
        RETURNING key
    )
    SELECT count(*) FROM purged
""")


async def purge_positions(session: AsyncSession, *, today: date, limit: int) -> int:
    """Delete one batch of positions that have not moved for POSITION_RETENTION; return their number.

    Skips positions that are locked. Repeat it, in a transaction each, until it returns 0.
    """
    return await session.scalar(_PURGE, {"before": today - POSITION_RETENTION, "limit": limit}) or 0
