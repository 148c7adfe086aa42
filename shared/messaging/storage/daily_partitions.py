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

_RETENTION = {"inbox": INBOX_RETENTION, "outbox_sent": SENT_RETENTION}

_EXISTING = sa.text("""
    SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = CAST(:parent AS regclass)
""")


async def maintain_daily_partitions(connection: AsyncSession | AsyncConnection) -> None:
    """Create partitions from the oldest day in retention to DAYS_AHEAD, and drop older ones. Safe to repeat."""
    today = datetime.now(UTC).date()
    # Only one process at a time, because two would create the same table.
    await connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('orderly:partitions'))"))
    for parent, retention in _RETENTION.items():
        existing = set((await connection.execute(_EXISTING, {"parent": parent})).scalars())
        first = today - retention
        wanted = {
            _name(parent, first + timedelta(days=n)): first + timedelta(days=n)
            for n in range(retention.days + DAYS_AHEAD + 1)
        }
        for name in sorted(wanted.keys() - existing):
            day = wanted[name]
            await connection.execute(
                sa.text(
                    f"CREATE TABLE {name} PARTITION OF {parent} "
                    f"FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
                )
            )
        for name in sorted(existing - wanted.keys()):
            if name < _name(parent, first):
                await connection.execute(sa.text(f"DROP TABLE {name}"))
                logger.info("daily_partition_dropped", table=name)


def _name(parent: str, day: date) -> str:
    return f"{parent}_p{day:%Y%m%d}"
