"""Daily partitions exist for the coming days, and are dropped after their retention."""

import asyncio
from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sa
from structlog.testing import capture_logs

from shared.database import Database
from shared.messaging.storage.daily_partitions import (
    DAYS_AHEAD,
    INBOX_RETENTION,
    SENT_RETENTION,
    maintain_daily_partitions,
)
from tests.harness.rows import Rows


async def maintain(database: Database) -> None:
    async with database.sessions.begin() as session:
        await maintain_daily_partitions(session)


async def run(database: Database, *statements: str) -> None:
    async with database.sessions.begin() as session:
        for statement in statements:
            await session.execute(sa.text(statement))


async def days_of(database: Database, parent: str) -> list[str]:
    """Return the days for which the table has a partition, in order."""
    rows = await Rows(database.sessions).of(
        "SELECT right(inhrelid::regclass::text, 8) FROM pg_inherits"
        " WHERE inhparent = CAST(:parent AS regclass) ORDER BY 1",
        parent=parent,
    )
    return [day for (day,) in rows]


def days(first: date, *, retention: timedelta) -> list[str]:
    return [f"{first + timedelta(days=n):%Y%m%d}" for n in range(-retention.days, DAYS_AHEAD + 1)]


async def test_every_day_in_retention_and_of_the_next_two_weeks_has_a_partition(database: Database) -> None:
    today = datetime.now(UTC).date()
    await run(
        database,
        f"DROP TABLE IF EXISTS inbox_p{today + timedelta(days=DAYS_AHEAD):%Y%m%d}",
        f"DROP TABLE IF EXISTS inbox_p{today - INBOX_RETENTION:%Y%m%d}",
        f"DROP TABLE IF EXISTS outbox_sent_p{today:%Y%m%d}",
    )
    await maintain(database)
    assert await days_of(database, "inbox") == days(today, retention=INBOX_RETENTION)
    assert await days_of(database, "outbox_sent") == days(today, retention=SENT_RETENTION)


async def test_a_partition_past_its_retention_is_dropped_and_one_further_ahead_is_kept(database: Database) -> None:
    await maintain(database)
    today = datetime.now(UTC).date()
    old, ahead = today - INBOX_RETENTION - timedelta(days=1), today + timedelta(days=DAYS_AHEAD + 1)
    for day in (old, ahead):
        await run(
            database,
            f"CREATE TABLE inbox_p{day:%Y%m%d} PARTITION OF inbox"
            f" FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')",
        )
    with capture_logs() as logs:
        await maintain(database)
        await maintain(database)
    assert [line["table"] for line in logs] == [f"inbox_p{old:%Y%m%d}"]
    assert await days_of(database, "inbox") == [*days(today, retention=INBOX_RETENTION), f"{ahead:%Y%m%d}"]


async def test_a_row_of_each_kept_day_can_be_inserted(database: Database) -> None:
    await run(database, f"DROP TABLE IF EXISTS inbox_p{datetime.now(UTC).date():%Y%m%d}")
    await maintain(database)
    await run(
        database,
        "INSERT INTO inbox (consumer, day, event_id)"
        " SELECT 'test', (now() AT TIME ZONE 'UTC')::date + n, gen_random_uuid() FROM generate_series(-21, 14) AS n",
    )
    assert await Rows(database.sessions).count("inbox") == 21 + 1 + 14


async def test_several_processes_may_maintain_at_once(database: Database) -> None:
    today = datetime.now(UTC).date()
    await run(database, *(f"DROP TABLE IF EXISTS inbox_p{day}" for day in days(today, retention=INBOX_RETENTION)))
    await asyncio.gather(*(maintain(database) for _ in range(4)))
    assert await days_of(database, "inbox") == days(today, retention=INBOX_RETENTION)
