"""Daily partitions of tables: creates those of the coming days, drops those past their retention."""

from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

logger = structlog.get_logger(__name__)

INBOX_RETENTION = timedelta(days=21)
"""Retention of ids in the inbox: the topics' retention of 7 days, plus a replay window of 14 days."""
SENT_RETENTION = timedelta(days=7)
"""Retention of sent events, which can be resent after a broker lost data."""
DAYS_AHEAD = 14
"""Number of days for which partitions exist in advance: inserts fail after the maintenance has not run for longer."""

RETENTIONS = {"inbox": INBOX_RETENTION, "outbox_sent": SENT_RETENTION}
"""The tables that have daily partitions, and how long they keep their rows."""

_MAINTAIN = sa.text("SELECT action, partition_name FROM maintain_daily_partitions(:parent, :first_day, :last_day)")


async def maintain_daily_partitions(
    connection: AsyncSession | AsyncConnection, parent: str, *, today: date | None = None
) -> str | None:
    """Create a table's partitions up to DAYS_AHEAD, and drop one past its retention; return the dropped one's name.

    Commit and repeat it until it returns None: a drop holds a lock for which consumers wait. A drop that does not get
    its lock within 100 ms is left to a later call, and logged.
    """
    today = today or datetime.now(UTC).date()
    # Only one process at a time, because two would create the same table.
    await connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('orderly:partitions'))"))
    parameters = {
        "parent": parent,
        "first_day": today - RETENTIONS[parent],
        "last_day": today + timedelta(days=DAYS_AHEAD),
    }
    dropped: str | None = None
    for action, name in await connection.execute(_MAINTAIN, parameters):
        if action == "dropped":
            dropped = name
        elif action == "postponed":
            logger.info("daily_partition_drop_postponed", table=name)
    return dropped
