"""The rows that a transaction reads: what its statements cost, whatever the speed of the machine."""

from collections.abc import Awaitable, Callable

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

# The view also counts rows that earlier transactions of the connection have read, so only differences mean something.
_READ = sa.text("""
    SELECT coalesce(sum(seq_tup_read), 0)::bigint AS sequentially, coalesce(sum(idx_tup_fetch), 0)::bigint AS by_index
    FROM pg_stat_xact_user_tables WHERE relname LIKE ANY(CAST(:tables AS text[]))
""")


async def count_reads(
    session: AsyncSession, *tables: str, only_sequential: bool = False
) -> Callable[[], Awaitable[int]]:
    """Begin to count; return a function that returns how many rows of the tables the transaction has read since.

    The names of tables are patterns of LIKE. `only_sequential`: count only the rows that sequential scans have read.
    """

    async def total() -> int:
        read = (await session.execute(_READ, {"tables": list(tables)})).one()
        return int(read.sequentially if only_sequential else read.sequentially + read.by_index)

    before = await total()

    async def since() -> int:
        return await total() - before

    return since
