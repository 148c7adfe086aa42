"""Tables of the store of telemetry, and the statements that fill and empty them."""

import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from deploy.console.telemetry.records import LogRecord, ReceivedSpan, SpanRecord

VERSION = 1
"""Version of the tables. A file with another version is replaced: its content is kept for an hour anyway."""
PURGED_AT_ONCE = 5_000
"""Rows that one transaction deletes. Raised, the write-ahead log grows."""
SPANS, LOG_RECORDS = "spans", "log_records"

_TABLES = """
CREATE TABLE spans (
    id INTEGER PRIMARY KEY,
    received_at INTEGER NOT NULL,
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL,
    parent_id BLOB,
    service TEXT NOT NULL,
    instance TEXT,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    started_ns INTEGER NOT NULL,
    duration_ns INTEGER NOT NULL,
    has_failed INTEGER NOT NULL,
    status_message TEXT,
    attributes TEXT NOT NULL,
    events TEXT NOT NULL
);
CREATE UNIQUE INDEX spans_by_trace ON spans (trace_id, span_id);
CREATE INDEX spans_by_service ON spans (service);
CREATE TABLE links (
    span INTEGER NOT NULL,
    trace_id BLOB NOT NULL,
    span_id BLOB NOT NULL
);
CREATE INDEX links_by_span ON links (span);
CREATE INDEX links_by_trace ON links (trace_id);
CREATE TABLE traces (
    trace_id BLOB PRIMARY KEY,
    started_ns INTEGER NOT NULL,
    ended_ns INTEGER NOT NULL,
    spans INTEGER NOT NULL,
    failed_spans INTEGER NOT NULL,
    name TEXT NOT NULL,
    service TEXT NOT NULL,
    name_rank INTEGER NOT NULL,
    newest_span INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX traces_by_start ON traces (started_ns);
CREATE TABLE log_records (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    received_at INTEGER NOT NULL,
    at_ns INTEGER NOT NULL,
    level INTEGER NOT NULL,
    service TEXT NOT NULL,
    instance TEXT,
    logger TEXT,
    event TEXT NOT NULL,
    trace_id BLOB,
    span_id BLOB,
    fields TEXT NOT NULL
);
CREATE INDEX log_records_by_trace ON log_records (trace_id) WHERE trace_id IS NOT NULL;
CREATE INDEX log_records_by_service ON log_records (service);
"""
_INSERT_SPAN = f"INSERT OR IGNORE INTO spans VALUES (NULL, {', '.join('?' * 14)})"  # noqa: S608 - placeholders
_INSERT_LOG_RECORD = f"INSERT INTO log_records VALUES (NULL, {', '.join('?' * 10)})"  # noqa: S608
# The name of a trace is that of its root, or of its earliest span while the root, which ends last, is missing.
# All assignments see the row as it was.
_ADD_TO_TRACE = """
INSERT INTO traces VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (trace_id) DO UPDATE SET
    started_ns = min(started_ns, excluded.started_ns),
    ended_ns = max(ended_ns, excluded.ended_ns),
    spans = spans + excluded.spans,
    failed_spans = failed_spans + excluded.failed_spans,
    name = CASE WHEN excluded.name_rank < name_rank THEN excluded.name ELSE name END,
    service = CASE WHEN excluded.name_rank < name_rank THEN excluded.service ELSE service END,
    name_rank = min(name_rank, excluded.name_rank),
    newest_span = max(newest_span, excluded.newest_span)
"""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block in a transaction that writes."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def create_tables(connection: sqlite3.Connection) -> None:
    """Create the tables in an empty file.

    Ids of log records begin at the present time, so that they keep growing when a damaged file is replaced: a page
    that follows the log asks for what came after an id.
    """
    first = time.time_ns() // 1_000
    connection.executescript(
        f"BEGIN; {_TABLES} INSERT INTO sqlite_sequence VALUES ('{LOG_RECORDS}', {first});"  # noqa: S608 - a number
        f" PRAGMA user_version = {VERSION}; COMMIT"
    )


def insert_spans(connection: sqlite3.Connection, received: Iterable[ReceivedSpan], *, received_at: int) -> int:
    """Insert the spans that are new, and return their number. An exporter may repeat a request."""
    inserted: dict[bytes, list[tuple[int, ReceivedSpan]]] = defaultdict(list)
    for each in received:
        cursor = connection.execute(_INSERT_SPAN, (received_at, *each.span))
        if cursor.rowcount == 1 and cursor.lastrowid is not None:
            span_row = cursor.lastrowid
            inserted[each.span.trace_id].append((span_row, each))
            connection.executemany("INSERT INTO links VALUES (?, ?, ?)", [(span_row, *link) for link in each.links])
    connection.executemany(_ADD_TO_TRACE, [_added(spans) for spans in inserted.values()])
    return sum(map(len, inserted.values()))


def insert_log_records(connection: sqlite3.Connection, records: Sequence[LogRecord], *, received_at: int) -> int:
    """Insert log records, and return their number."""
    connection.executemany(_INSERT_LOG_RECORD, [(received_at, *record) for record in records])
    return len(records)


def _added(spans: list[tuple[int, ReceivedSpan]]) -> tuple[bytes | int | str, ...]:
    """Return what new spans of a trace add to its row."""
    first = min((each.span for _, each in spans), key=_name_rank)
    return (
        first.trace_id,
        min(each.span.started_ns for _, each in spans),
        max(each.span.started_ns + each.span.duration_ns for _, each in spans),
        len(spans),
        sum(each.span.has_failed for _, each in spans),
        first.name,
        first.service,
        _name_rank(first),
        max(row for row, _ in spans),
    )


def _name_rank(span: SpanRecord) -> int:
    """Return the rank of a span's name among those that its trace may have; the lowest wins."""
    return span.started_ns if span.parent_id is not None else span.started_ns - 2**63


def purge(connection: sqlite3.Connection, table: str, *, received_before: int, max_rows: int) -> None:
    """Delete rows that were received before a time, and the oldest ones beyond a number.

    Ids grow in the order of arrival, so what is deleted is a range of them. The caller has no transaction open.
    """
    first, newest = connection.execute(f"SELECT min(id), max(id) FROM {table}").fetchone()  # noqa: S608 - own names
    if newest is None:
        return
    kept = connection.execute(
        f"SELECT id FROM {table} WHERE received_at >= ? ORDER BY id LIMIT 1",  # noqa: S608
        (received_before,),
    ).fetchone()
    last = max(newest - max_rows, newest if kept is None else kept[0] - 1)
    for until in range(first + PURGED_AT_ONCE - 1, last + PURGED_AT_ONCE, PURGED_AT_ONCE):
        with transaction(connection):
            _delete_until(connection, table, min(until, last))


def _delete_until(connection: sqlite3.Connection, table: str, last: int) -> None:
    if table == SPANS:
        connection.execute("DELETE FROM links WHERE span <= ?", (last,))
        connection.execute("DELETE FROM traces WHERE newest_span <= ?", (last,))
    connection.execute(f"DELETE FROM {table} WHERE id <= ?", (last,))  # noqa: S608
