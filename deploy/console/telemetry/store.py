"""The store of received spans and log records: one SQLite file, bounded in age, rows and bytes.

SQLite runs on two threads: one writes, one reads. The content can be lost: a file that is damaged is replaced.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import structlog

from deploy.console.telemetry.records import LogRecord, ReceivedSpan
from deploy.console.telemetry.tables import (
    LOG_RECORDS,
    SPANS,
    VERSION,
    create_tables,
    insert_log_records,
    insert_spans,
    purge,
    transaction,
)
from shared.errors import Problem

logger = structlog.get_logger(__name__)

PURGE_INTERVAL_SECONDS = 30.0
MAX_READ_SECONDS = 3.0
"""Upper bound of a query. A filter that finds nothing reads all rows."""
FILE_NAME = "telemetry.sqlite3"
_BUSY_TIMEOUT_SECONDS = 5.0
_INSTRUCTIONS_PER_CHECK = 10_000
_SUFFIXES = ("", "-wal", "-shm")

T = TypeVar("T")


class TelemetryUnavailable(Problem):
    """The received traces and logs cannot be read at present."""

    status = 503
    code = "telemetry_unavailable"


class SearchTooSlow(Problem):
    """The search took too long. Narrow it, for example by a service or a time."""

    status = 422
    code = "search_too_slow"


class NotStored(Exception):
    """Nothing was stored, for example because the disk is full. The sender may try again."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Limits of the store. Beyond them, the oldest rows are deleted."""

    retention: timedelta
    max_rows: int = 300_000
    """Rows of spans, and of log records."""
    max_bytes: int = 256 * 1024 * 1024
    """Bytes in use in the file, indexes included: some 600 for a span."""


class TelemetryStore:
    """Keeps spans and log records. Open it before the first use."""

    def __init__(self, folder: Path, bounds: Bounds, *, max_read_seconds: float = MAX_READ_SECONDS) -> None:
        self._bounds = bounds
        self._file = folder / FILE_NAME
        self._max_read_seconds = max_read_seconds
        self._writing = _Worker("telemetry-writing", self._open_file)
        self._reading = _Worker("telemetry-reading", self._open_file)
        self._added = 0
        self._replacements = 0
        self._replacing = asyncio.Lock()
        self._purging: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the file, or replace it if it is damaged or of another version. Raises: OSError, sqlite3.Error."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.touch()
        await self._on_intact_file(self._writing, _check)
        self._purging = asyncio.create_task(self._keep_purging())

    async def close(self) -> None:
        """Wait for what is being written, and close the file."""
        if self._purging is not None:
            self._purging.cancel()
            await asyncio.wait({self._purging})
        await self._reading.close()
        await self._writing.close()

    async def add_spans(self, spans: Sequence[ReceivedSpan]) -> int:
        """Store the spans that are new, and return their number. Raises: NotStored."""
        return await self._add(lambda connection: insert_spans(connection, spans, received_at=int(time.time())))

    async def add_log_records(self, records: Sequence[LogRecord]) -> int:
        """Store log records, and return their number. Raises: NotStored."""
        return await self._add(lambda connection: insert_log_records(connection, records, received_at=int(time.time())))

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query on a connection that only reads. Raises: TelemetryUnavailable, SearchTooSlow."""

        def bounded(connection: sqlite3.Connection) -> T:
            deadline = time.monotonic() + self._max_read_seconds
            connection.set_progress_handler(lambda: time.monotonic() > deadline, _INSTRUCTIONS_PER_CHECK)
            return query(connection)

        try:
            return await self._on_intact_file(self._reading, bounded)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise SearchTooSlow from error
            raise TelemetryUnavailable from error

    async def purge(self) -> None:
        """Delete what the bounds no longer allow."""
        try:
            await self._on_intact_file(self._writing, self._purge)
        except sqlite3.Error as error:
            logger.warning("telemetry_not_purged", error=str(error))

    async def _add(self, insert: Callable[[sqlite3.Connection], int]) -> int:
        def add(connection: sqlite3.Connection) -> tuple[int, bool]:
            with transaction(connection):
                return insert(connection), self._is_over_max_bytes(connection)

        try:
            added, is_over_max_bytes = await self._on_intact_file(self._writing, add)
        except sqlite3.OperationalError as error:
            logger.warning("telemetry_not_stored", error=str(error))
            raise NotStored from error
        self._added += added
        if is_over_max_bytes or self._added > self._bounds.max_rows / 20:
            await self.purge()
        return added

    def _purge(self, connection: sqlite3.Connection) -> None:
        received_before = int(time.time() - self._bounds.retention.total_seconds())
        max_rows = self._bounds.max_rows
        for table in (SPANS, LOG_RECORDS):
            purge(connection, table, received_before=received_before, max_rows=max_rows)
        while self._is_over_max_bytes(connection) and max_rows > 1:
            # The rows are larger than expected.
            most = max(_rows(connection, table) for table in (SPANS, LOG_RECORDS))
            max_rows = min(max_rows - 1, most * 9 // 10)
            for table in (SPANS, LOG_RECORDS):
                purge(connection, table, received_before=received_before, max_rows=max_rows)
        self._added = 0

    def _is_over_max_bytes(self, connection: sqlite3.Connection) -> bool:
        pages, free, size = (_pragma(connection, name) for name in ("page_count", "freelist_count", "page_size"))
        return (pages - free) * size > self._bounds.max_bytes

    async def _keep_purging(self) -> None:
        while True:
            await asyncio.sleep(PURGE_INTERVAL_SECONDS)
            await self.purge()

    def _open_file(self) -> sqlite3.Connection:
        """Open a connection on the thread that calls."""
        connection = sqlite3.connect(
            self._file, timeout=_BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            # A crash of the machine may damage the file, which is then replaced; nothing waits for the disk.
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA journal_size_limit = 8000000")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    async def _on_intact_file(self, worker: "_Worker", use: Callable[[sqlite3.Connection], T]) -> T:
        """Use the file on a worker's thread; if it turns out to be damaged or deleted, replace it and try again."""
        replacements = self._replacements
        try:
            if self._file.exists():
                return await worker.run(use)
            reason = "the file was deleted"
        except sqlite3.DatabaseError as error:
            if not _is_damaged(error):
                raise
            reason = str(error)
        async with self._replacing:
            if self._replacements == replacements:
                await self._replace_file(reason)
        return await worker.run(use)

    async def _replace_file(self, reason: str) -> None:
        logger.warning("telemetry_store_replaced", file=self._file.name, reason=reason)
        await self._reading.disconnect()
        await self._writing.disconnect(then=self._remove_file)
        await self._writing.run(_check)
        self._replacements += 1

    def _remove_file(self) -> None:
        for suffix in _SUFFIXES:
            with suppress(FileNotFoundError):
                self._file.with_name(self._file.name + suffix).unlink()


def _is_damaged(error: sqlite3.DatabaseError) -> bool:
    """Return whether the file has to be replaced: it is damaged, or of another version."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest is details
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB} or isinstance(error, _OtherVersion)


class _OtherVersion(sqlite3.DatabaseError):
    """The file has the tables of another version of the console."""


class _Worker:
    """A thread with a connection, which it opens when it needs it."""

    def __init__(self, name: str, connect: Callable[[], sqlite3.Connection]) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._connect = connect
        self._connection: sqlite3.Connection | None = None

    async def run(self, use: Callable[[sqlite3.Connection], T]) -> T:
        """Use the connection on the thread."""

        def on_thread() -> T:
            if self._connection is None:
                self._connection = self._connect()
            return use(self._connection)

        return await asyncio.get_running_loop().run_in_executor(self._executor, on_thread)

    async def disconnect(self, *, then: Callable[[], None] = lambda: None) -> None:
        """Close the connection, and call a function on the thread."""

        def on_thread() -> None:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            then()

        await asyncio.get_running_loop().run_in_executor(self._executor, on_thread)

    async def close(self) -> None:
        """Close the connection and end the thread."""
        await self.disconnect()
        self._executor.shutdown()


def _check(connection: sqlite3.Connection) -> None:
    """Create the tables in a new file; read the root pages of an old one. Raises: sqlite3.DatabaseError."""
    version = _pragma(connection, "user_version")
    if version == 0 and _pragma(connection, "schema_version") == 0:
        create_tables(connection)
    elif version != VERSION:
        raise _OtherVersion(f"version {version}")
    else:
        for table in (SPANS, LOG_RECORDS):
            _rows(connection, table)


def _rows(connection: sqlite3.Connection, table: str) -> int:
    """Return the number of rows, whose ids have no gaps."""
    first, newest = connection.execute(f"SELECT min(id), max(id) FROM {table}").fetchone()  # noqa: S608 - own names
    return 0 if newest is None else int(newest - first + 1)


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
