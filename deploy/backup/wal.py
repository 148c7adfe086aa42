"""WAL positions, and the segments in a folder that pg_receivewal fills."""

import re
from dataclasses import dataclass
from pathlib import Path

PARTIAL = ".partial"
"""The suffix of the segment that pg_receivewal is writing. The rest of the file is filled with zeros."""
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(\.partial)?")
_HISTORY = re.compile(r"[0-9A-F]{8}\.history")
_LOG_BYTES = 1 << 32
"""A segment's name has two numbers: which 4 GiB of WAL, and which segment of these."""


def parse_lsn(text: str) -> int:
    """Return a position such as `0/16B3748` as a number of bytes."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def format_lsn(position: int) -> str:
    """Return a position as PostgreSQL prints it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def segment_name(timeline: int, number: int, *, segment_bytes: int) -> str:
    """Return the file name of a segment, `number` counted from the beginning of all WAL."""
    per_log = _LOG_BYTES // segment_bytes
    return f"{timeline:08X}{number // per_log:08X}{number % per_log:08X}"


@dataclass(frozen=True, kw_only=True)
class Run:
    """Segments without a gap between them."""

    files: dict[int, Path]
    """The files by the segments' numbers, in order."""
    missing: int | None
    """The first segment that is missing although later ones exist."""

    @property
    def last(self) -> int:
        """The number of the last segment."""
        return next(reversed(self.files))

    @property
    def last_complete(self) -> int | None:
        """The number of the last segment that pg_receivewal has completed; None without one."""
        return max((number for number, file in self.files.items() if file.suffix != PARTIAL), default=None)


@dataclass(frozen=True, kw_only=True)
class WalFolder:
    """The segments of one timeline in a folder."""

    folder: Path
    timeline: int
    segment_bytes: int

    def name_of(self, number: int) -> str:
        """Return the file name of a segment."""
        return segment_name(self.timeline, number, segment_bytes=self.segment_bytes)

    def segments(self) -> dict[int, Path]:
        """Return the files by the segments' numbers, in order.

        A file of another size does not count: it is not what the server wrote.
        """
        found: dict[int, Path] = {}
        for path in sorted(self.folder.iterdir()) if self.folder.is_dir() else []:
            match = _SEGMENT.fullmatch(path.name)
            if match is None or int(match[1], 16) != self.timeline or path.stat().st_size != self.segment_bytes:
                continue
            # The complete file sorts before the partial one, and counts if both exist.
            found.setdefault(int(match[2], 16) * (_LOG_BYTES // self.segment_bytes) + int(match[3], 16), path)
        return dict(sorted(found.items()))

    def run_from(self, position: int) -> Run:
        """Return the segments from the one with this position up to the first gap."""
        segments = self.segments()
        files: dict[int, Path] = {}
        number = position // self.segment_bytes
        while number in segments:
            files[number] = segments[number]
            number += 1
        return Run(files=files, missing=number if any(later > number for later in segments) else None)

    def next_position(self) -> int | None:
        """Return where pg_receivewal continues: the beginning of the partial segment, or after the last complete one.

        None if the folder is empty.
        """
        segments = self.segments()
        if not segments:
            return None
        last = next(reversed(segments))
        return (last if segments[last].suffix == PARTIAL else last + 1) * self.segment_bytes


def histories(folder: Path) -> list[Path]:
    """Return the files that say at which positions the timelines in a folder began."""
    return [path for path in folder.iterdir() if _HISTORY.fullmatch(path.name)] if folder.is_dir() else []


def history_of(data_folder: Path, timeline: int) -> Path:
    """Return the history file of a timeline that a server has begun itself."""
    return data_folder / "pg_wal" / f"{timeline:08X}.history"


def forked_at(history: Path) -> int:
    """Return the position at which the history's own timeline began."""
    *_, last = [line for line in history.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return parse_lsn(last.split("\t")[1])
