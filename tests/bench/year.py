"""`python -m tests.bench.year`: a year of events in minutes, and the largest size of each table under retention.

Rows are inserted day by day with the days of the past year, and after each day the real purges run with that day's
clock. The exit status is 1 if a table still grows in the last quarter of the year.
"""

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

import asyncpg
import structlog
import typer
from rich.table import Table

from deploy.local.screen import Screen
from services.notifications.jobs import BATCH_ROWS, purge_notifications
from services.notifications.settings import Settings
from shared.connection_urls import dsn_of
from shared.database import Sessions, open_database
from shared.maintenance import DEAD_LETTER_RETENTION, PURGES, maintain_all_partitions, purge_in_batches
from shared.operations.dead_letters import DeadLetterOperations
from tests.bench.year_of_rows import add_day, back_date_expiry, noon
from tests.harness.databases import create_template, database_url
from tests.harness.supervised_servers import OWNER, supervised_servers
from tests.harness.waiting import until

DAYS = 365
VACUUM_DAYS = 7
"""Days between two vacuums. In a real year autovacuum does more often what it has no time for here."""
ALLOWED_GROWTH = 1.1
"""Ratio of the last quarter's largest size to that of the quarter before: vacuum does not come every day."""
ALLOWED_BYTES = 256 * 1024
"""Growth of a small table that says nothing: a table grows by pages, and an index by some more."""
ALLOWED_DAYS = 3
"""Growth in rows that says nothing, in days' worth of rows. Without a purge, a quarter adds those of all its days."""
NOTIFICATION_RETENTION = timedelta(days=Settings.model_fields["retention_days"].default)

# A partitioned table's size is that of its partitions.
_SIZES = """
    SELECT coalesce(p.relname, c.relname) AS name, sum(pg_total_relation_size(c.oid))::bigint AS bytes
    FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = i.inhparent
    WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
    GROUP BY 1
"""

_DEAD_ROWS = """
    SELECT coalesce(sum(pg_stat_get_dead_tuples(oid)), 0)::bigint FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass
class Largest:
    """The most rows and bytes that a table had in a time."""

    rows: int = 0
    total_bytes: int = 0

    def add(self, *, rows: int, total_bytes: int) -> None:
        """Add a measurement."""
        self.rows = max(self.rows, rows)
        self.total_bytes = max(self.total_bytes, total_bytes)


@dataclass
class TableSize:
    """The largest size of a table in each quarter of the year, and the rows that its first day has left."""

    rows_of_a_day: int = 0
    quarters: list[Largest] = field(default_factory=lambda: [Largest() for _ in range(4)])

    @property
    def rows(self) -> int:
        """The most rows in the whole year."""
        return max(quarter.rows for quarter in self.quarters)

    @property
    def is_bounded(self) -> bool:
        """Return whether the table has stopped growing, judged by its rows and by its bytes."""
        *_, third, last = self.quarters
        return (
            last.rows <= third.rows * ALLOWED_GROWTH + self.rows_of_a_day * ALLOWED_DAYS
            and last.total_bytes <= third.total_bytes * ALLOWED_GROWTH + ALLOWED_BYTES
        )


async def simulate(
    url: str, *, events: int, step_days: int = 1, on_day: Callable[[int, int], None] = lambda _day, _rows: None
) -> Mapping[str, TableSize]:
    """Simulate a year with so many events in a new database of notifications; return the size of each table.

    `url`: the database for a role that may vacuum its tables.
    Only every `step_days`-th day has events, and purges. `on_day` gets each day's number, and how many rows were
    inserted so far.
    """
    sizes: dict[str, TableSize] = {}
    database = open_database(url, service="notifications", pool_size=2)
    connection = await asyncpg.connect(dsn_of(url), server_settings={"timezone": "UTC", "jit": "off"})
    rows = 0
    first = datetime.now(UTC).date() - timedelta(days=DAYS - 1)
    try:
        for number in range(0, DAYS, step_days):
            day = first + timedelta(days=number)
            await maintain_all_partitions(database.sessions, noon(day))
            rows += await add_day(connection, day, events=events * step_days // DAYS)
            await retain(database.sessions, connection, day)
            if number % VACUUM_DAYS < step_days:
                await until(lambda: _vacuum(connection), what="no dead row is left")
            await _measure(connection, sizes, number)
            on_day(number, rows)
    finally:
        await connection.close()
        await database.close()
    return sizes


async def retain(sessions: Sessions, connection: "asyncpg.Connection[asyncpg.Record]", day: date) -> None:
    """Run everything that a service runs in a day to bound its tables."""
    now = noon(day) + timedelta(hours=12)
    await DeadLetterOperations(sessions, {}).expire(before=now - DEAD_LETTER_RETENTION)
    await back_date_expiry(connection, day)
    for purge in PURGES:
        await purge(sessions, now)
    purge_batch = partial(purge_notifications, before=now - NOTIFICATION_RETENTION, limit=BATCH_ROWS)
    await purge_in_batches(sessions, purge_batch)


async def _vacuum(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Remove the dead rows; return whether none is left. An ANALYZE of autovacuum holds some back for a moment."""
    await connection.execute("VACUUM (ANALYZE)")
    return not await connection.fetchval(_DEAD_ROWS)


async def _measure(connection: "asyncpg.Connection[asyncpg.Record]", sizes: dict[str, TableSize], number: int) -> None:
    for name, total_bytes in await connection.fetch(_SIZES):
        # Statistics would be estimates, which say nothing about a table of a few rows.
        rows = await connection.fetchval(f'SELECT count(*) FROM "{name}"')  # noqa: S608 - a table's name
        # Tables that do not grow in the simulation stay empty.
        if rows or name in sizes:
            size = sizes.setdefault(name, TableSize(rows_of_a_day=0 if number else rows))
            size.quarters[4 * number // DAYS].add(rows=rows, total_bytes=total_bytes)


def sizes_table(sizes: Mapping[str, TableSize]) -> Table:
    """Show each table's largest size."""
    headings = (f"{unit} in quarter {number}" for unit in ("rows", "MiB") for number in (3, 4))
    table = Table("table", "rows", *headings, "bounded", box=None, pad_edge=False)
    for name, size in sorted(sizes.items()):
        rows = [f"{quarter.rows:,}" for quarter in size.quarters[2:]]
        mebibytes = [f"{quarter.total_bytes / 2**20:,.1f}" for quarter in size.quarters[2:]]
        table.add_row(name, f"{size.rows:,}", *rows, *mebibytes, "yes" if size.is_bounded else "NO")
    return table


@cli.command()
def run(
    events: Annotated[
        int, typer.Option(min=DAYS * 10, help="Events in the year; each is about four rows.")
    ] = 2_500_000,
) -> None:
    """Simulate a year of events, and print the largest size of each table."""
    # Purges log what they delete.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    screen = Screen()
    folder = Path(tempfile.mkdtemp(prefix="orderly-year-"))
    try:
        sizes = asyncio.run(_run(folder, screen, events=events))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    screen.table(sizes_table(sizes))
    raise typer.Exit(0 if all(size.is_bounded for size in sizes.values()) else 1)


async def _switch_autovacuum_off(admin_url: str) -> None:
    """Leave vacuuming to the simulation: dead rows stay while autovacuum analyses another table, which takes long."""
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute("ALTER SYSTEM SET autovacuum = off")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


async def _run(folder: Path, screen: Screen, *, events: int) -> Mapping[str, TableSize]:
    def show(number: int, rows: int) -> None:
        if number % 30 == 0 or number == DAYS - 1:
            screen.note(f"day {number + 1} of {DAYS}: {rows:,} rows")

    async with supervised_servers(folder, brokers=0) as servers:
        admin_url, log = servers.postgres.admin_url, folder / "logs" / "migrate.log"
        await _switch_autovacuum_off(admin_url)
        await create_template(admin_url, name="year", owner=OWNER, service="notifications", log=log)
        url = database_url(admin_url, name="year", role=OWNER)
        return await simulate(url, events=events, on_day=show)


if __name__ == "__main__":
    cli()
