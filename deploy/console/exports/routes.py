"""The page *Export*, and the API behind it."""

import asyncio
import shutil
import tempfile
from pathlib import Path as FilePath
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, Request
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse

from deploy.console.access.operator import OperatorDep
from deploy.console.dependencies import ObserverDep, ServicesDep, SettingsDep, TelemetryDep
from deploy.console.exports.archive import MAX_FILE_BYTES, ExportInvalid
from deploy.console.exports.commands import write_export
from deploy.console.exports.documents import documents_of
from deploy.console.exports.opened import ExportNotOpen, OpenedExport, OpenedExports
from deploy.console.local_control import OptionalControlDep
from deploy.console.logs.queries import lines_of_trace, log_page
from deploy.console.logs.routes import WantedDep as LogsWantedDep
from deploy.console.page_route import PageRoute
from deploy.console.screen import ScreenDep
from deploy.console.traces.queries import TraceNotFound, latest_traces, trace_waterfall
from deploy.console.traces.routes import TraceId, WantedDep
from deploy.console.traces.spans import linked_traces
from shared.http.problems import responses

PLACE = "/exports"
router = APIRouter(prefix="/api/v1/exports", tags=["exports"])
pages = APIRouter(prefix=PLACE, include_in_schema=False, route_class=PageRoute)


async def _opened_exports(request: Request) -> OpenedExports:
    opened: OpenedExports = request.app.state.opened_exports
    return opened


OpenedDep = Annotated[OpenedExports, Depends(_opened_exports)]


async def _opened(export_id: str, opened: OpenedDep) -> OpenedExport:
    return opened.find(export_id)


OpenedExportDep = Annotated[OpenedExport, Depends(_opened)]


async def _exported_file(
    operator: OperatorDep,
    services: ServicesDep,
    observer: ObserverDep,
    settings: SettingsDep,
    telemetry: TelemetryDep,
    *,
    control: OptionalControlDep,
) -> FilePath:
    documents = await documents_of(services, observer, settings, control, operator=operator)
    return await write_export(telemetry, documents)


ExportedFileDep = Annotated[FilePath, Depends(_exported_file)]


@router.get("/file", summary="Download everything of the last hour", response_class=FileResponse)
async def download_export(file: ExportedFileDep) -> FileResponse:
    """Return a zip archive: the pages as JSON, events, traces, logs and metrics, with personal data masked."""
    return _download(file)


@router.get("/{export_id}", summary="Read an opened export", responses=responses(ExportNotOpen))
async def read_export(_operator: OperatorDep, opened: OpenedExportDep) -> dict[str, Any]:
    """Return the documents of an export that is open here."""
    return {"id": opened.id, "manifest": opened.manifest, "documents": opened.documents}


@pages.get("")
async def exports_page(screen: ScreenDep, opened: OpenedDep) -> HTMLResponse:
    """Show the download, the form that opens a file, and the opened exports."""
    return screen.show("exports.html", place=PLACE, opened=opened.all)


@pages.get("/file")
async def handle_download(file: ExportedFileDep) -> FileResponse:
    """Send the file to the browser."""
    return _download(file)


@pages.post("/opened")
async def handle_open(request: Request, _operator: OperatorDep, opened: OpenedDep) -> RedirectResponse:
    """Open an uploaded file."""
    async with request.form(max_part_size=MAX_FILE_BYTES) as form:
        upload = form.get("file")
        if upload is None or isinstance(upload, str):
            raise ExportInvalid("Choose a file.")
        with tempfile.TemporaryDirectory(prefix="orderly-opened-") as folder:
            file = FilePath(folder) / "export.zip"
            await asyncio.to_thread(_copy, upload.file, file)
            export = await opened.open(file)
    return RedirectResponse(f"{PLACE}/{export.id}", 303)


@pages.post("/{export_id}/close")
async def handle_close(export_id: str, _operator: OperatorDep, opened: OpenedDep) -> RedirectResponse:
    """Close an opened export."""
    await opened.close(export_id)
    return RedirectResponse(PLACE, 303)


@pages.get("/{export_id}")
async def export_page(screen: ScreenDep, export: OpenedExportDep, wanted: WantedDep) -> HTMLResponse:
    """Show an opened export: its documents, and its latest traces."""
    traces = await latest_traces(export.telemetry, wanted)
    return screen.show("export.html", place=PLACE, export=export, traces=traces)


@pages.get("/{export_id}/traces/{trace_id}")
async def exported_trace_page(screen: ScreenDep, export: OpenedExportDep, trace_id: TraceId) -> HTMLResponse:
    """Show a trace of an opened export."""
    drawn = await trace_waterfall(export.telemetry, trace_id)
    if drawn is None:
        raise TraceNotFound
    lines = await lines_of_trace(export.telemetry, trace_id)
    linked = linked_traces(trace_id, (row.span for row in drawn.rows))
    return screen.show(
        "export_trace.html", place=PLACE, export=export, trace_id=trace_id, drawn=drawn, linked=linked, lines=lines
    )


@pages.get("/{export_id}/logs")
async def exported_logs_page(screen: ScreenDep, export: OpenedExportDep, wanted: LogsWantedDep) -> HTMLResponse:
    """Show the log lines of an opened export."""
    found = await log_page(export.telemetry, None, wanted)
    return screen.show("export_logs.html", place=PLACE, export=export, logs=found)


def _download(file: FilePath) -> FileResponse:
    """Return a response that deletes the file once it is sent."""
    cleaning = BackgroundTask(shutil.rmtree, file.parent, ignore_errors=True)
    return FileResponse(file, media_type="application/zip", filename=file.name, background=cleaning)


def _copy(source: BinaryIO, target: FilePath) -> None:
    with target.open("wb") as file:
        shutil.copyfileobj(source, file)
