"""Bounded reads of log files: their last lines, and what was added since a position."""

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploy.console.logs.formats import parse_line
from deploy.console.logs.lines import LogLine

MAX_READ_BYTES = 256 * 1024
"""Bytes that are read from the end of a file, some 1,500 lines. A search covers nothing before them."""
MAX_LINE_CHARACTERS = 4_000
"""Longer lines are cut."""
UNFINISHED_SECONDS = 2.0
"""An unfinished last line is shown once nothing was added for this long, as after a crash."""
SUFFIX = ".log"
ROTATED_SUFFIX = ".log.1"
_IDS = ("trace_id", "span_id")


@dataclass(frozen=True)
class Position:
    """The end of what was read of a file. After a rotation the name belongs to another file, with another inode."""

    inode: int
    offset: int


@dataclass(frozen=True)
class Tail:
    """Lines of a file, and the position after them."""

    lines: list[str]
    position: Position
    modified_at: datetime


def log_files(folder: Path | None) -> dict[str, Path]:
    """Return the log files of a folder by the names of their processes."""
    if folder is None or not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}")) if path.is_file()}


def read_tail(path: Path, *, after: Position | None = None, max_bytes: int = MAX_READ_BYTES) -> Tail:
    """Return the last lines of a file, or those since a position, the rest of the rotated file included.

    Raises: OSError.
    """
    rest: list[str] = []
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        if after is None:
            begin = max(0, found.st_size - max_bytes)
        elif after.inode == found.st_ino and after.offset <= found.st_size:
            begin = after.offset
        else:
            begin = 0
            rest = _rest_of_rotated(path, after, max_bytes=max_bytes)
        is_cut = found.st_size - begin > max_bytes or (after is None and begin > 0)
        begin = max(begin, found.st_size - max_bytes)
        file.seek(begin)
        content = file.read(found.st_size - begin)
    first = content.find(b"\n") + 1 if is_cut else 0
    end = content.rfind(b"\n") + 1
    if time.time() - found.st_mtime > UNFINISHED_SECONDS or len(content) - end > MAX_READ_BYTES / 2:
        end = len(content)
    position = Position(found.st_ino, begin + max(first, end))
    return Tail([*rest, *_lines(content[first:end])], position, datetime.fromtimestamp(found.st_mtime, UTC))


def lines_of(process: str, tail: Tail) -> Iterator[LogLine]:
    """Yield the parsed lines. One without time or level, such as of a traceback, has those of the line before."""
    parsed = [parse_line(line) for line in tail.lines]
    level, at = "info", next((line.at for line in parsed if line.at is not None), tail.modified_at)
    for line in parsed:
        at = line.at or at
        level = line.level or level
        fields = dict(line.fields)
        trace_id, span_id = (str(value) if (value := fields.pop(name, None)) else None for name in _IDS)
        yield LogLine(
            at=at,
            level=level,
            process=process,
            event=line.event,
            source="file",
            logger=line.logger,
            trace_id=trace_id,
            span_id=span_id,
            fields=fields,
        )


def _rest_of_rotated(path: Path, after: Position, *, max_bytes: int) -> list[str]:
    """Return what was added to a file before it was rotated, if that is still there."""
    try:
        with path.with_suffix(ROTATED_SUFFIX).open("rb") as file:
            found = os.fstat(file.fileno())
            if found.st_ino != after.inode:
                return []
            file.seek(max(after.offset, found.st_size - max_bytes))
            return list(_lines(file.read(max_bytes)))
    except OSError:
        return []


def _lines(content: bytes) -> Iterable[str]:
    for line in content.decode(errors="replace").split("\n"):
        if shown := line.rstrip():
            yield shown[:MAX_LINE_CHARACTERS]
