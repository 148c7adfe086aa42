"""The file of an export: a zip archive with a manifest, JSON documents, and a line for each span and log record."""

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import AwareDatetime, BaseModel, NonNegativeInt

from deploy.console.telemetry.records import LogRecord, ReceivedSpan, SpanLink, SpanRecord
from shared.errors import Problem

VERSION = 1
MAX_FILE_BYTES = 64_000_000
MAX_CONTENT_BYTES = 1_000_000_000
"""Upper bounds of an opened file: its size, and that of its decompressed content."""
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""The errors of reading a damaged archive or a line of another form."""
_MANIFEST, _SPANS, _LOGS = "manifest.json", "spans.jsonl", "logs.jsonl"


T = TypeVar("T")


class ExportInvalid(Problem):
    """The file is not an export of a console."""

    status = 422
    code = "export_invalid"


class Manifest(BaseModel):
    """The time at which an export was made, and its contents."""

    version: int = VERSION
    made_at: AwareDatetime
    spans: NonNegativeInt
    logs: NonNegativeInt
    documents: list[str]


class ExportWriter:
    """Writes an export. Use it in a `with` block, in a thread."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self._zip.writestr(_MANIFEST, manifest.model_dump_json())

    def __enter__(self) -> "ExportWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def add_document(self, name: str, document: Any) -> None:
        """Add a JSON document."""
        self._zip.writestr(f"{name}.json", json.dumps(document, default=str))

    def add_spans(self, spans: Iterator[ReceivedSpan]) -> None:
        """Add spans with their links."""
        self._add_lines(_SPANS, ([_row(each.span), [_row(link) for link in each.links]] for each in spans))

    def add_logs(self, records: Iterator[LogRecord]) -> None:
        """Add log records."""
        self._add_lines(_LOGS, (_row(record) for record in records))

    def _add_lines(self, name: str, rows: Iterator[list[Any]]) -> None:
        with self._zip.open(name, "w", force_zip64=True) as file:
            for row in rows:
                file.write(json.dumps(row).encode() + b"\n")


class ExportFile:
    """Reads an export, in a thread. Raises: ExportInvalid, also while its parts are read."""

    def __init__(self, path: Path) -> None:
        try:
            self._zip = zipfile.ZipFile(path)
            if sum(each.file_size for each in self._zip.infolist()) > MAX_CONTENT_BYTES:
                raise ExportInvalid(f"An export has at most {MAX_CONTENT_BYTES} bytes.")
            manifest = json.loads(self._zip.read(_MANIFEST))
            if manifest["version"] != VERSION:
                raise ExportInvalid(f"This console opens exports of version {VERSION}.")
            self.manifest = Manifest.model_validate(manifest)
        except _UNREADABLE as error:
            raise ExportInvalid from error

    def documents(self) -> dict[str, Any]:
        """Return the JSON documents by name."""
        names = [name for name in self._zip.namelist() if name.endswith(".json") and name != _MANIFEST]
        try:
            return {name.removesuffix(".json"): json.loads(self._zip.read(name)) for name in names}
        except _UNREADABLE as error:
            raise ExportInvalid from error

    def spans(self) -> Iterator[ReceivedSpan]:
        """Return the spans."""
        return self._records(_SPANS, _received_span)

    def logs(self) -> Iterator[LogRecord]:
        """Return the log records."""
        return self._records(_LOGS, _log_record)

    def _records(self, name: str, parse: Callable[[Any], T]) -> Iterator[T]:
        try:
            with self._zip.open(name) as file:
                for line in file:
                    yield parse(json.loads(line))
        except _UNREADABLE as error:
            raise ExportInvalid from error


def _row(record: tuple[Any, ...]) -> list[Any]:
    return [value.hex() if isinstance(value, bytes) else value for value in record]


def _received_span(line: list[Any]) -> ReceivedSpan:
    row, links = line
    return ReceivedSpan(SpanRecord(*_unpacked(row, ids=3)), tuple(SpanLink(*_unpacked(each)) for each in links))


def _log_record(row: list[Any]) -> LogRecord:
    trace_id, span_id = _unpacked(row[6:8])
    return LogRecord._make([*row[:6], trace_id, span_id, row[8]])


def _unpacked(row: list[Any], *, ids: int | None = None) -> list[Any]:
    """Return a row whose first values are ids again: bytes instead of hexadecimal text."""
    count = len(row) if ids is None else ids
    return [bytes.fromhex(value) if value is not None else None for value in row[:count]] + row[count:]
