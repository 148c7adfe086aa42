"""The file of an export: a zip archive with a manifest, JSON documents, and a line for each span and log record."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deploy.console.telemetry.records import LogRecord, ReceivedSpan, SpanLink, SpanRecord
from shared.errors import Problem

VERSION = 1
MAX_FILE_BYTES = 64_000_000
MAX_CONTENT_BYTES = 1_000_000_000
"""Bounds of a file that is opened, compressed and decompressed."""
_MANIFEST, _SPANS, _LOGS = "manifest.json", "spans.jsonl", "logs.jsonl"


class ExportInvalid(Problem):
    """The file is not an export of a console."""

    status = 422
    code = "export_invalid"


class ExportWriter:
    """Writes an export. Use it in a `with` block, in a thread."""

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self._zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self._zip.writestr(_MANIFEST, json.dumps({"version": VERSION, **manifest}))

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
            size = sum(each.file_size for each in self._zip.infolist())
            manifest = json.loads(self._zip.read(_MANIFEST))
        except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
            raise ExportInvalid from error
        if not isinstance(manifest, dict) or manifest.get("version") != VERSION:
            raise ExportInvalid(f"This console opens exports of version {VERSION}.")
        if size > MAX_CONTENT_BYTES:
            raise ExportInvalid(f"An export has at most {MAX_CONTENT_BYTES} bytes.")
        self.manifest: dict[str, Any] = manifest

    def documents(self) -> dict[str, Any]:
        """Return the JSON documents by name."""
        names = [name for name in self._zip.namelist() if name.endswith(".json") and name != _MANIFEST]
        try:
            return {name.removesuffix(".json"): json.loads(self._zip.read(name)) for name in names}
        except (ValueError, zipfile.BadZipFile) as error:
            raise ExportInvalid from error

    def spans(self) -> Iterator[ReceivedSpan]:
        """Yield the spans."""
        for row, links in self._lines(_SPANS):
            yield ReceivedSpan(SpanRecord(*_unpacked(row, ids=3)), tuple(SpanLink(*_unpacked(each)) for each in links))

    def logs(self) -> Iterator[LogRecord]:
        """Yield the log records."""
        for row in self._lines(_LOGS):
            trace_id, span_id = _unpacked(row[6:8])
            yield LogRecord._make([*row[:6], trace_id, span_id, row[8]])

    def _lines(self, name: str) -> Iterator[Any]:
        try:
            with self._zip.open(name) as file:
                for line in file:
                    yield json.loads(line)
        except (KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
            raise ExportInvalid from error


def _row(record: tuple[Any, ...]) -> list[Any]:
    return [value.hex() if isinstance(value, bytes) else value for value in record]


def _unpacked(row: list[Any], *, ids: int | None = None) -> list[Any]:
    """Return a row whose first values are ids again: bytes instead of hexadecimal text."""
    count = len(row) if ids is None else ids
    return [bytes.fromhex(value) if value is not None else None for value in row[:count]] + row[count:]
