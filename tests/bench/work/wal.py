"""Commits that write, and bytes of WAL, by database: read from the WAL itself with pg_walinspect."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import asyncpg

_EXTENSION = "CREATE EXTENSION IF NOT EXISTS pg_walinspect"
_NOW = "SELECT pg_current_wal_flush_lsn()::text"
_RECORDS = """
    SELECT start_lsn::text AS lsn, xid::text, resource_manager, record_type, description,
           record_length - coalesce(fpi_length, 0) AS bytes
    FROM pg_get_wal_records_info($1::text::pg_lsn, $2::text::pg_lsn)
"""
_BLOCKS = """
    SELECT DISTINCT start_lsn::text AS lsn, xid::text, datname::text AS database
    FROM pg_get_wal_block_info($1::text::pg_lsn, $2::text::pg_lsn, false) JOIN pg_database ON oid = reldatabase
"""
_SUBTRANSACTIONS = re.compile(r"subxacts:((?: \d+)+)")


@dataclass(frozen=True)
class Written:
    """Writes between two moments, by database. Bytes do not count images of whole pages."""

    commits: Counter[str]
    bytes: Counter[str]


@dataclass
class Wal:
    """Reads the WAL in windows that follow each other."""

    superuser: "asyncpg.Connection[asyncpg.Record]"
    _position: str = ""

    async def start(self) -> None:
        """Begin the first window."""
        await self.superuser.execute(_EXTENSION)
        self._position = await self.superuser.fetchval(_NOW)

    async def read(self) -> Written:
        """Return what was written since the last call, and begin the next window."""
        start, self._position = self._position, await self.superuser.fetchval(_NOW)
        if start == self._position:
            return Written(Counter(), Counter())
        records = await self.superuser.fetch(_RECORDS, start, self._position)
        blocks = await self.superuser.fetch(_BLOCKS, start, self._position)
        return _written(records, blocks)


def _written(records: list[Any], blocks: list[Any]) -> Written:
    of_record = {row["lsn"]: row["database"] for row in blocks}
    of_transaction = {row["xid"]: row["database"] for row in blocks if row["xid"] != "0"}
    commits = [row for row in records if _is_commit(row)]
    for row in commits:
        # A savepoint writes under a transaction id of its own.
        if found := _SUBTRANSACTIONS.search(row["description"]):
            named = [of_transaction[xid] for xid in found[1].split() if xid in of_transaction]
            of_transaction.setdefault(row["xid"], *named[:1] or [""])
    written = Counter[str]()
    for row in records:
        if database := of_record.get(row["lsn"]) or of_transaction.get(row["xid"]):
            written[database] += row["bytes"]
    return Written(Counter(of_transaction[row["xid"]] for row in commits if row["xid"] in of_transaction), written)


def _is_commit(row: Any) -> bool:
    return (row["resource_manager"], row["record_type"]) == ("Transaction", "COMMIT")
