"""A purge finds its rows by an index, in tables of any size."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from shared.database import open_database
from shared.http.idempotency import purge_idempotency_keys
from shared.jobs import purge_job_log
from tests.harness.databases import DatabaseFactory, as_owner
from tests.harness.read_rows import count_reads
from tests.harness.table_rows import MESSAGING_FILLS, fill

ROWS = 30_000
BATCH = 10_000
TABLES = ("idempotency_key", "pgqueuer_log", "pgqueuer_statistics")


@pytest.mark.parametrize(("purge", "deleted"), [(purge_idempotency_keys, BATCH), (purge_job_log, 2 * BATCH)])
async def test_a_full_batch_does_not_read_the_whole_table(
    purge: Callable[..., Awaitable[int]], deleted: int, database_factory: DatabaseFactory
) -> None:
    url = await database_factory("users")
    await fill(as_owner(url), {table: MESSAGING_FILLS[table] for table in TABLES}, rows=ROWS)
    database = open_database(url, service="users", pool_size=1)
    async with database.sessions.begin() as session:
        read = await count_reads(session, *TABLES, only_sequential=True)
        assert await purge(session, before=datetime.now(UTC) + timedelta(seconds=1), limit=BATCH) == deleted
        assert await read() == 0
    await database.close()
