"""Reads of the log records that the services sent by OTLP."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime

import orjson

from deploy.console.logs.lines import OWN_KEYWORDS, LogFilter, LogLine
from deploy.console.telemetry.records import LEVELS

_SELECT = "SELECT at_ns, level, service, instance, logger, event, trace_id, span_id, fields FROM log_records"
_NS_PER_SECOND = 1_000_000_000
_MAX_SECONDS = 9_000_000_000


def services_with_logs(connection: sqlite3.Connection) -> set[str]:
    """Return the services that have sent log records."""
    return {service for (service,) in connection.execute("SELECT DISTINCT service FROM log_records")}


def newest_record_id(connection: sqlite3.Connection) -> int:
    """Return the id of the newest log record; 0 if there is none."""
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM log_records").fetchone()[0])


def newest_records(
    connection: sqlite3.Connection, wanted: LogFilter, *, after_id: int, until_id: int, limit: int
) -> list[LogLine]:
    """Return the newest lines that match, of those with an id in a range; the newest comes last."""
    conditions = ["id > ?", "id <= ?"]
    values: list[str | int | bytes] = [after_id, until_id]
    for condition, value in _conditions(wanted):
        conditions.append(condition)
        values.append(value)
    rows = connection.execute(f"{_SELECT} WHERE {' AND '.join(conditions)} ORDER BY id DESC", values)
    lines: list[LogLine] = []
    for row in rows:
        line = _line(row)
        if wanted.matches(line):
            lines.append(line)
            if len(lines) == limit:
                break
    return lines[::-1]


def _conditions(wanted: LogFilter) -> Iterator[tuple[str, str | int | bytes]]:
    """Yield conditions that hold for every line that matches, and spare most of the others from being read."""
    if wanted.process is not None:
        yield "service = ?", wanted.process
    if wanted.min_level is not None:
        yield "level >= ?", wanted.min_level_number
    if wanted.event is not None:
        yield "event = ?", wanted.event
    if wanted.trace_id is not None:
        yield "trace_id = ?", _bytes_of(wanted.trace_id)
    if wanted.since is not None:
        yield "at_ns >= ?", _ns(wanted.since)
    if wanted.until is not None:
        yield "at_ns < ?", _ns(wanted.until) + _NS_PER_SECOND
    for keyword, value in wanted.keywords:
        if keyword == "trace_id":
            yield "trace_id = ?", _bytes_of(value)
        elif keyword not in OWN_KEYWORDS:
            yield "instr(fields, ?) > 0", orjson.dumps(value).decode()[1:-1]
    for word in wanted.words:
        if word.isascii():
            yield "instr(lower(event || ' ' || coalesce(logger, '') || ' ' || fields), ?) > 0", word.lower()


def _ns(moment: datetime) -> int:
    """Return the second of a time in nanoseconds since the epoch, which SQLite can compare."""
    return min(max(0, int(moment.timestamp())), _MAX_SECONDS) * _NS_PER_SECOND


def _bytes_of(trace_id: str) -> bytes:
    try:
        return bytes.fromhex(trace_id)
    except ValueError:
        return b""  # the id of no trace


def _line(row: tuple[int, int, str, str | None, str | None, str, bytes | None, bytes | None, str]) -> LogLine:
    at_ns, level, service, instance, logger, event, trace_id, span_id, fields = row
    return LogLine(
        at=datetime.fromtimestamp(at_ns / _NS_PER_SECOND, UTC),
        level=LEVELS[level],
        process=service,
        event=event,
        source="otlp",
        instance=instance,
        logger=logger,
        trace_id=trace_id.hex() if trace_id else None,
        span_id=span_id.hex() if span_id else None,
        fields=orjson.loads(fields),
    )
