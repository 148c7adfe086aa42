"""Making an export, in a temporary file that the caller sends and deletes."""

import asyncio
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.console.exports.archive import ExportWriter, Manifest
from deploy.console.exports.telemetry_rows import all_logs, all_spans
from deploy.console.telemetry.store import TelemetryStore


async def write_export(telemetry: TelemetryStore, documents: Mapping[str, Any]) -> Path:
    """Write an export, and return its file. Raises: TelemetryUnavailable, OSError."""
    spans, logs = await all_spans(telemetry), await all_logs(telemetry)
    made_at = datetime.now(UTC)
    manifest = Manifest(made_at=made_at, spans=len(spans), logs=len(logs), documents=sorted(documents))

    def write() -> Path:
        folder = Path(tempfile.mkdtemp(prefix="orderly-export-"))
        file = folder / f"orderly-{made_at:%Y%m%d-%H%M%S}.zip"
        with ExportWriter(file, manifest) as writer:
            for name, document in documents.items():
                writer.add_document(name, document)
            writer.add_spans(iter(spans))
            writer.add_logs(iter(logs))
        return file

    return await asyncio.to_thread(write)
