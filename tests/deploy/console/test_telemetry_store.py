"""The store of telemetry keeps to its bounds, and begins again when its file is damaged."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deploy.console.telemetry.decoding import decode_logs, decode_spans
from deploy.console.telemetry.records import LogRecord, ReceivedSpan
from deploy.console.telemetry.store import FILE_NAME, Bounds, SearchTooSlow, TelemetryStore
from tests.deploy.console.otlp import log_record, logs_of, span, spans_of

HOUR = timedelta(hours=1)


async def test_the_oldest_rows_make_room_for_new_ones(tmp_path: Path) -> None:
    async with _opened(tmp_path, Bounds(retention=HOUR, max_rows=100)) as store:
        for number in range(40):
            await store.add_spans(_spans(f"trace {number}", 5))
            await store.add_log_records(_logs(5))
        counts = await _counts(store)
        assert all(100 <= counts[table] <= 110 for table in ("spans", "log_records")), counts
        assert counts["links"] == counts["spans"]
        assert 20 <= counts["traces"] <= 22
        [(newest,)] = await _query(store, "SELECT name FROM spans ORDER BY id DESC LIMIT 1")
        assert newest == "trace 39 span 4"


async def test_large_rows_are_bounded_by_their_bytes(tmp_path: Path) -> None:
    max_bytes = 2_000_000
    async with _opened(tmp_path, Bounds(retention=HOUR, max_bytes=max_bytes)) as store:
        for number in range(30):
            await store.add_spans(_spans(f"trace {number}", 50, text="x" * 4_000))
        assert (tmp_path / FILE_NAME).stat().st_size < 1.5 * max_bytes
        assert 200 < (await _counts(store))["spans"] < 500


async def test_old_rows_are_purged(tmp_path: Path) -> None:
    async with _opened(tmp_path, Bounds(retention=HOUR)) as store:
        await store.add_spans(_spans("old", 3))
        await store.add_log_records(_logs(3))
        with sqlite3.connect(tmp_path / FILE_NAME) as connection:
            for table in ("spans", "log_records"):
                connection.execute(f"UPDATE {table} SET received_at = received_at - 3601")  # noqa: S608 - own names
        connection.close()
        await store.add_spans(_spans("new", 2))
        await store.purge()
        assert await _counts(store) == {"spans": 2, "links": 2, "traces": 1, "log_records": 0}


async def test_the_content_outlives_a_restart(tmp_path: Path) -> None:
    async with _opened(tmp_path) as store:
        await store.add_spans(_spans("order", 3))
    async with _opened(tmp_path) as store:
        assert (await _counts(store))["spans"] == 3


@pytest.mark.parametrize("content", [b"", b"no database" * 1000, b"SQLite format 3\0" + b"\xff" * 8000])
async def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    async with _opened(tmp_path) as store:
        await store.add_spans(_spans("order", 3))
        assert (await _counts(store))["spans"] == 3


async def test_a_file_of_another_version_is_replaced(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.executescript("CREATE TABLE spans (other); PRAGMA user_version = 99")
    connection.close()
    async with _opened(tmp_path) as store:
        await store.add_spans(_spans("order", 3))
        assert (await _counts(store))["spans"] == 3


async def test_a_file_that_is_damaged_while_it_is_used_is_replaced_and_ids_keep_growing(tmp_path: Path) -> None:
    async with _opened(tmp_path) as store:
        await store.add_log_records(_logs(1))
        [(before,)] = await _query(store, "SELECT max(id) FROM log_records")
        with sqlite3.connect(tmp_path / FILE_NAME) as connection:
            # Pages of the tables that point nowhere, as after a crash of the machine.
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("UPDATE sqlite_schema SET rootpage = 4000 WHERE name IN ('spans', 'spans_by_trace')")
            connection.execute("PRAGMA schema_version = 99")
        connection.close()

        added = await asyncio.gather(store.add_spans(_spans("new", 3)), store.add_spans(_spans("more", 2)))
        assert list(added) == [3, 2]
        await store.add_log_records(_logs(1))
        [(after,)] = await _query(store, "SELECT max(id) FROM log_records")
        assert after > before
        assert await _counts(store) == {"spans": 5, "links": 5, "traces": 2, "log_records": 1}


async def test_a_deleted_file_is_made_again(tmp_path: Path) -> None:
    async with _opened(tmp_path) as store:
        await store.add_spans(_spans("order", 3))
        (tmp_path / FILE_NAME).unlink()
        await store.add_spans(_spans("new", 2))
        assert (await _counts(store))["spans"] == 2


async def test_a_search_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    endless = "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number) SELECT max(n) FROM number"
    async with _opened(tmp_path, max_read_seconds=0.05) as store:
        with pytest.raises(SearchTooSlow):
            await _query(store, endless)
        assert await _query(store, "SELECT 1") == [(1,)]


async def test_spans_of_the_same_trace_make_one_row_with_the_name_of_the_root(tmp_path: Path) -> None:
    later = span("relay", parent="request", at_ms=20, for_ms=5, error="broken")
    early = span("query", parent="request", at_ms=10, for_ms=1)
    root = span("request", at_ms=5, for_ms=10)
    async with _opened(tmp_path) as store:
        names = []
        for service, sent in (
            ("orders", later),
            ("users", early),
            ("gateway", root),
            ("orders", span("x", parent="y")),
        ):
            await store.add_spans(decode_spans(spans_of(service, sent).SerializeToString()).records)
            names += await _query(store, "SELECT name, service FROM traces")
        assert names == [("relay", "orders"), ("query", "users"), ("request", "gateway"), ("request", "gateway")]
        times = await _query(store, "SELECT spans, failed_spans, ended_ns - started_ns FROM traces")
        assert times == [(4, 1, 25_000_000)]


@asynccontextmanager
async def _opened(folder: Path, bounds: Bounds | None = None, **options: float) -> AsyncIterator[TelemetryStore]:
    store = TelemetryStore(folder, bounds or Bounds(retention=HOUR), **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def _spans(trace: str, number: int, **attributes: Any) -> list[ReceivedSpan]:
    spans = (
        span(f"{trace} span {index}", trace=trace, links=[("batch", "batch")], **attributes) for index in range(number)
    )
    return decode_spans(spans_of("orders", *spans).SerializeToString()).records


def _logs(number: int) -> list[LogRecord]:
    records = (log_record("order_placed", order_id=str(index)) for index in range(number))
    return decode_logs(logs_of("orders", *records).SerializeToString()).records


async def _query(store: TelemetryStore, sql: str) -> list[tuple[Any, ...]]:
    return await store.read(lambda connection: connection.execute(sql).fetchall())


async def _counts(store: TelemetryStore) -> dict[str, int]:
    tables = ("spans", "links", "traces", "log_records")
    return {
        table: (await _query(store, f"SELECT count(*) FROM {table}"))[0][0]  # noqa: S608 - own names
        for table in tables
    }
