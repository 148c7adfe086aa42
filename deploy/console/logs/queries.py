"""Reads of the page *Logs*: the lines of all sources, merged by time."""

import asyncio
import base64
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from deploy.console.logs.files import SUFFIX, Position, lines_of, log_files, read_tail
from deploy.console.logs.lines import LogFilter, LogLine
from deploy.console.logs.records import newest_record_id, newest_records, services_with_logs
from deploy.console.logs.schemas import LogLineView, LogPage
from deploy.console.telemetry.store import TelemetryStore
from shared.http.pagination import CursorInvalid

MAX_LINES = 1_000
DEFAULT_LINES = 200


@dataclass(frozen=True)
class _Cursor:
    """The end of what was read of all sources."""

    record_id: int = 0
    files: Mapping[str, Position] = field(default_factory=dict)


async def log_page(
    telemetry: TelemetryStore,
    folder: Path | None,
    wanted: LogFilter,
    *,
    limit: int = DEFAULT_LINES,
    cursor: str | None = None,
) -> LogPage:
    """Return the newest lines that match; with a cursor, of those that came after it.

    The lines of a service come from what it sent, or from its file if it sent nothing. `users.log` as the process
    chooses the file in any case: it also holds what a process wrote as it crashed.

    Raises: CursorInvalid, SearchTooSlow, TelemetryUnavailable.
    """
    after = _decoded(cursor) if cursor else _Cursor()
    sent = await telemetry.read(lambda connection: _sent_lines(connection, wanted, after=after, limit=limit + 1))
    files = await asyncio.to_thread(log_files, folder)
    chosen = _chosen_files(files, wanted, services=sent.services)
    written = await asyncio.to_thread(_written_lines, chosen, wanted, after=after)
    lines = sorted([*sent.lines, *written.lines], key=lambda line: line.at)
    # Positions of files that are not shown are kept: another page of the same cursor may show them.
    next_cursor = _Cursor(sent.newest_id, {**after.files, **written.positions})
    return LogPage(
        items=[LogLineView.model_validate(line) for line in lines[-limit:]],
        cursor=_encoded(next_cursor),
        has_more=len(lines) > limit,
        processes=sorted({*sent.services, *files} | {f"{name}{SUFFIX}" for name in sent.services & files.keys()}),
    )


async def lines_of_trace(telemetry: TelemetryStore, trace_id: str) -> list[LogLineView]:
    """Return the newest lines of a trace that services sent, the newest last."""
    found = await telemetry.read(
        lambda connection: newest_records(
            connection,
            LogFilter(trace_id=trace_id),
            after_id=0,
            until_id=newest_record_id(connection),
            limit=DEFAULT_LINES,
        )
    )
    return [LogLineView.model_validate(line) for line in sorted(found, key=lambda line: line.at)]


@dataclass(frozen=True)
class _Sent:
    services: set[str]
    newest_id: int
    lines: list[LogLine]


def _sent_lines(connection: sqlite3.Connection, wanted: LogFilter, *, after: _Cursor, limit: int) -> _Sent:
    services, newest_id = services_with_logs(connection), newest_record_id(connection)
    lines = newest_records(connection, wanted, after_id=after.record_id, until_id=newest_id, limit=limit)
    # While there are no records, the cursor stays where it is: the next id is larger in any case.
    return _Sent(services, max(newest_id, after.record_id), lines)


def _chosen_files(files: Mapping[str, Path], wanted: LogFilter, *, services: set[str]) -> dict[str, Path]:
    if wanted.process is None:
        return {name: path for name, path in files.items() if name not in services}
    if wanted.process in services:
        return {}
    name = wanted.process.removesuffix(SUFFIX)
    return {name: files[name]} if name in files else {}


@dataclass(frozen=True)
class _Written:
    lines: list[LogLine]
    positions: dict[str, Position]


def _written_lines(files: Mapping[str, Path], wanted: LogFilter, *, after: _Cursor) -> _Written:
    written = _Written([], {})
    of_files = replace(wanted, process=None)
    for name, path in files.items():
        try:
            tail = read_tail(path, after=after.files.get(name))
        except OSError:  # removed meanwhile
            continue
        written.positions[name] = tail.position
        written.lines.extend(line for line in lines_of(name, tail) if of_files.matches(line))
    return written


def _encoded(cursor: _Cursor) -> str:
    files = {name: (position.inode, position.offset) for name, position in cursor.files.items()}
    return base64.urlsafe_b64encode(orjson.dumps([cursor.record_id, files])).decode().rstrip("=")


def _decoded(cursor: str) -> _Cursor:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        record_id, files = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        positions = {str(name): Position(_count(inode), _count(offset)) for name, (inode, offset) in files.items()}
        return _Cursor(_count(record_id), positions)
    except (ValueError, TypeError, AttributeError) as error:
        raise CursorInvalid from error


def _count(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**63:
        raise ValueError(value)
    return value
