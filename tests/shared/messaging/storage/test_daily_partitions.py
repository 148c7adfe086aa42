"""Daily partitions exist for the coming days, and are dropped after their retention."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.testing import capture_logs

from shared.database import Database
from shared.maintenance import maintain_all_partitions
from shared.messaging.storage.daily_partitions import (
    DAYS_AHEAD,
    INBOX_RETENTION,
    SENT_RETENTION,
)
from tests.harness.databases import execute_as_owner
from tests.harness.rows import Rows
from tests.harness.statements import execute
from tests.harness.waiting import until

MAX_STALL_SECONDS = 5.0
"""Half of the time for which a session waits for a lock; a drop asks for its lock for 0.1 s."""


async def maintain(database: Database) -> None:
    await maintain_all_partitions(database.sessions, datetime.now(UTC))


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
    await execute_as_owner(
        database.sessions,
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
        await execute_as_owner(
            database.sessions,
            f"CREATE TABLE inbox_p{day:%Y%m%d} PARTITION OF inbox"
            f" FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')",
        )
    with capture_logs() as logs:
        await maintain(database)
        await maintain(database)
    assert [line["table"] for line in logs] == [f"inbox_p{old:%Y%m%d}"]
    assert await days_of(database, "inbox") == [*days(today, retention=INBOX_RETENTION), f"{ahead:%Y%m%d}"]


async def test_a_row_of_each_kept_day_can_be_inserted(database: Database) -> None:
    await execute_as_owner(database.sessions, f"DROP TABLE IF EXISTS inbox_p{datetime.now(UTC).date():%Y%m%d}")
    await maintain(database)
    await execute(
        database.sessions,
        "INSERT INTO inbox (consumer, day, event_id)"
        " SELECT 'test', (now() AT TIME ZONE 'UTC')::date + n, gen_random_uuid() FROM generate_series(-21, 14) AS n",
    )
    assert await Rows(database.sessions).count("inbox") == 21 + 1 + 14


async def test_several_processes_may_maintain_at_once(database: Database) -> None:
    today = datetime.now(UTC).date()
    drops = (f"DROP TABLE IF EXISTS inbox_p{day}" for day in days(today, retention=INBOX_RETENTION))
    await execute_as_owner(database.sessions, *drops)
    await asyncio.gather(*(maintain(database) for _ in range(4)))
    assert await days_of(database, "inbox") == days(today, retention=INBOX_RETENTION)


async def insert_into_inbox(session: AsyncSession) -> None:
    await session.execute(
        sa.text("INSERT INTO inbox VALUES ('test', (now() AT TIME ZONE 'UTC')::date, gen_random_uuid())")
    )


@asynccontextmanager
async def consuming(database: Database) -> AsyncIterator[list[float]]:
    """Insert into the inbox all the time; yield the list of how long each transaction took."""
    seconds: list[float] = []
    is_done = False

    async def consume() -> None:
        while not is_done:
            started_at = time.monotonic()
            async with database.sessions.begin() as session:
                await insert_into_inbox(session)
            seconds.append(time.monotonic() - started_at)

    consumers = [asyncio.create_task(consume()) for _ in range(3)]
    try:
        yield seconds
    finally:
        is_done = True
        await asyncio.gather(*consumers)


async def test_a_partition_is_created_beside_the_transaction_of_a_consumer(database: Database) -> None:
    await maintain(database)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    async with database.sessions.begin() as open_:
        await insert_into_inbox(open_)
        async with asyncio.timeout(MAX_STALL_SECONDS):
            await maintain_all_partitions(database.sessions, tomorrow)
    assert (await days_of(database, "inbox"))[-1] == f"{tomorrow + timedelta(days=DAYS_AHEAD):%Y%m%d}"


async def test_a_drop_gives_way_to_a_long_transaction_and_no_consumer_waits_behind_it(database: Database) -> None:
    await maintain(database)
    first = f"{datetime.now(UTC).date() - INBOX_RETENTION:%Y%m%d}"
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    async with consuming(database) as seconds:
        async with database.sessions() as open_:
            await open_.execute(sa.text("SELECT FROM inbox LIMIT 1"))
            with capture_logs() as logs:
                for _ in range(5):
                    await maintain_all_partitions(database.sessions, tomorrow)
            assert {line["event"] for line in logs if line["table"].startswith("inbox")} == {
                "daily_partition_drop_postponed"
            }
            assert first in await days_of(database, "inbox")

        async def is_dropped() -> bool:
            await maintain_all_partitions(database.sessions, tomorrow)
            return first not in await days_of(database, "inbox")

        await until(is_dropped, what="the partition is dropped")
    assert max(seconds) < MAX_STALL_SECONDS, f"the longest transaction of {len(seconds)}"


async def test_consumers_continue_while_days_pass(database: Database) -> None:
    await maintain(database)
    today = datetime.now(UTC)
    async with consuming(database) as seconds:
        for number in range(1, DAYS_AHEAD):

            async def is_maintained(now: datetime = today + timedelta(days=number)) -> bool:
                await maintain_all_partitions(database.sessions, now)
                return await days_of(database, "inbox") == days(now.date(), retention=INBOX_RETENTION)

            await until(is_maintained, what="the day's partitions are created and dropped")
    assert max(seconds) < MAX_STALL_SECONDS, f"the longest transaction of {len(seconds)}"


async def test_the_function_maintains_no_other_table(database: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError, match="event_stream has no daily partitions"):
        await execute(database.sessions, "SELECT maintain_daily_partitions('event_stream', current_date, current_date)")
