"""What the upkeep deletes it finds by an index, however much there is beside it."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from shared.database import open_database
from shared.http.idempotency import purge_idempotency_keys
from shared.jobs import purge_job_log
from tests.harness.databases import DatabaseFactory
from tests.harness.table_rows import MESSAGING_FILLS, fill

ROWS = 30_000
BATCH = 10_000
TABLES = ("idempotency_key", "pgqueuer_log", "pgqueuer_statistics")

READ_WHOLE = sa.text("SELECT relname FROM pg_stat_xact_user_tables WHERE seq_tup_read > 0 AND relname = ANY(:tables)")


@pytest.mark.parametrize(("purge", "deleted"), [(purge_idempotency_keys, BATCH), (purge_job_log, 2 * BATCH)])
async def test_a_full_batch_does_not_read_the_whole_table(
    purge: Callable[..., Awaitable[int]], deleted: int, database_factory: DatabaseFactory
) -> None:
    url = await database_factory("users")
    await fill(url, {table: MESSAGING_FILLS[table] for table in TABLES}, rows=ROWS)
    database = open_database(url, service="users", pool_size=1)
    async with database.sessions.begin() as session:
        assert await purge(session, older_than=timedelta(seconds=-1), limit=BATCH) == deleted
        read_whole = await session.scalars(READ_WHOLE, {"tables": list(TABLES)})
        assert read_whole.all() == []
    await database.close()
