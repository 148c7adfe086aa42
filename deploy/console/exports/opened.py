"""Opened exports: each has a store of its spans and logs, and its documents. None of it reaches the live system."""

import asyncio
import shutil
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from deploy.console.exports.archive import ExportFile, Manifest
from deploy.console.telemetry.store import Bounds, TelemetryStore
from shared.errors import NotFound
from shared.ids import new_id

MAX_OPENED = 3
"""Exports that are open at once. Another one closes the oldest."""
BATCH = 2_000
_BOUNDS = Bounds(retention=timedelta(days=365))


class ExportNotOpen(NotFound):
    """The export is not open here. Open its file."""

    code = "export_not_open"


@dataclass(frozen=True)
class OpenedExport:
    """An export that can be looked at."""

    id: str
    manifest: Manifest
    documents: dict[str, Any]
    telemetry: TelemetryStore


class OpenedExports:
    """The exports that are open. They are closed, and their files deleted, when the console stops."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: dict[str, OpenedExport] = {}

    @property
    def all(self) -> list[OpenedExport]:
        """The opened exports, the newest first."""
        return list(reversed(self._opened.values()))

    def find(self, export_id: str) -> OpenedExport:
        """Return an opened export. Raises: ExportNotOpen."""
        if export_id not in self._opened:
            raise ExportNotOpen
        return self._opened[export_id]

    async def open(self, file: Path) -> OpenedExport:
        """Open an export's file. Raises: ExportInvalid, which leaves nothing behind."""
        export_id = new_id().hex
        telemetry = TelemetryStore(self._folder / export_id, _BOUNDS)
        try:
            content = await asyncio.to_thread(ExportFile, file)
            await telemetry.open()
            await _fill(telemetry, content)
            documents = await asyncio.to_thread(content.documents)
        except BaseException:
            await self._discard(export_id, telemetry)
            raise
        self._opened[export_id] = OpenedExport(export_id, content.manifest, documents, telemetry)
        if len(self._opened) > MAX_OPENED:
            await self.close(next(iter(self._opened)))
        return self._opened[export_id]

    async def close(self, export_id: str) -> None:
        """Close an export and delete its store. Raises: ExportNotOpen."""
        opened = self.find(export_id)
        del self._opened[export_id]
        await self._discard(export_id, opened.telemetry)

    async def close_all(self) -> None:
        """Close all exports."""
        for export_id in list(self._opened):
            await self.close(export_id)

    async def _discard(self, export_id: str, telemetry: TelemetryStore) -> None:
        await telemetry.close()
        await asyncio.to_thread(partial(shutil.rmtree, self._folder / export_id, ignore_errors=True))


async def _fill(telemetry: TelemetryStore, content: ExportFile) -> None:
    spans = await asyncio.to_thread(lambda: list(content.spans()))
    for page in range(0, len(spans), BATCH):
        await telemetry.add_spans(spans[page : page + BATCH])
    logs = await asyncio.to_thread(lambda: list(content.logs()))
    for page in range(0, len(logs), BATCH):
        await telemetry.add_log_records(logs[page : page + BATCH])
