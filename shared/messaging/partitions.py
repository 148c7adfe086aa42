"""Upkeep of the daily partitions: the coming days exist, the days past their retention go."""

from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from shared.messaging import inbox

logger = structlog.get_logger(__name__)

SENT_RETENTION = timedelta(days=7)
"""How long what was sent is kept, to be sent again after a broker's loss."""
DAYS_AHEAD = 14
"""So long may the upkeep stand still before anything notices."""

_RETENTION = {"inbox": inbox.RETENTION, "outbox_sent": SENT_RETENTION}

_EXISTING = sa.text("""
    SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = CAST(:parent AS regclass)
""")


async def keep_partitions(connection: AsyncSession | AsyncConnection) -> None:
    """Create the partitions from the oldest day that is kept to DAYS_AHEAD, and drop those before; repeatable."""
    today = datetime.now(UTC).date()
    # One upkeep at a time, whoever else runs one: both would create the same table.
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
                logger.info("partition_dropped", partition=name)


def _name(parent: str, day: date) -> str:
    return f"{parent}_p{day:%Y%m%d}"
