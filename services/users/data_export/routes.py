"""Routes of exports: request, list and download what the services have of the caller."""

from datetime import UTC, datetime
from uuid import UUID

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.accounts.queries import UserNotFound
from services.users.data_export import commands, queries
from services.users.data_export.commands import TooManyExports
from services.users.data_export.dependencies import DOWNLOADS, OwnExportPermit
from services.users.data_export.document import ReadyExport, document_of
from services.users.data_export.queries import ExportNotFound
from services.users.data_export.schemas import ExportDocument, ExportHeader, ExportView
from services.users.dependencies import SettingsDep
from services.users.models.accounts import UserAccount
from services.users.models.data_export import DataExport
from services.users.security_record.commands import origin_of
from services.users.sessions.commands import AccountInactive
from shared.errors import Conflict, Problem
from shared.http.auth import Caller
from shared.http.dependencies import SessionsDep
from shared.http.idempotency import IdempotencyKey, run_idempotently
from shared.http.pagination import Page, PageParams, page_of
from shared.http.problems import responses
from shared.http.responses import Documented, is_repeat, json_response

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/v1/users/me/exports", tags=["exports"])

_ACCEPTED: Documented = {
    202: {"headers": {"Location": {"description": "The path of the export.", "schema": {"type": "string"}}}}
}
_DOCUMENT: Documented = {
    200: {
        "headers": {
            "Content-Disposition": {"description": "The name of the file.", "schema": {"type": "string"}},
            "Cache-Control": {"description": "`no-store`.", "schema": {"type": "string"}},
        }
    }
}


class ExportPending(Conflict):
    """The export is not ready yet."""

    code = "export_pending"


class ExportExpired(Problem):
    """The export has expired; request another one."""

    status = 410
    code = "export_expired"


@router.post(
    "",
    status_code=202,
    response_model=ExportView,
    summary="Request an export of your data",
    response_description="The export, which is pending until all services have sent their data.",
    responses=_ACCEPTED | responses(UserNotFound, AccountInactive, TooManyExports),
)
async def request_export(
    *,
    request: Request,
    caller: Caller,
    sessions: SessionsDep,
    settings: SettingsDep,
    key: IdempotencyKey = None,
) -> Response:
    """Collect everything that the services have of you. A mail tells you when it can be downloaded.

    While an export is pending, the response is that export. You can request three exports within 24 hours.
    """
    new: list[UUID] = []

    async def act(session: AsyncSession) -> Response:
        export, is_new = await commands.request_export(
            session, user_id=caller.user_id, max_per_day=settings.data_exports_per_day, origin=origin_of(request)
        )
        if is_new:
            new.append(export.id)
        headers = {"Location": f"{router.prefix}/{export.id}"}
        return json_response(_view(export), status=202, headers=headers)

    response = await run_idempotently(
        sessions, request=request, caller_id=caller.user_id, key=key, body=None, action=act
    )
    if new and not is_repeat(response):
        logger.info("data_export_requested", user_id=str(caller.user_id), export_id=str(new[-1]))
    return response


@router.get("", summary="List your exports")
async def list_own_exports(
    request: Request, caller: Caller, sessions: SessionsDep, params: PageParams
) -> Page[ExportView]:
    """Return your exports, newest first. An expired one is listed for 30 days more."""
    async with sessions() as session:
        query = queries.exports_newest_first(caller.user_id)
        return await page_of(session, query, request=request, params=params, map=_view)


@router.get("/{export_id}", summary="Read the state of an export", responses=responses(ExportNotFound))
async def read_own_export(export_id: UUID, permit: OwnExportPermit, sessions: SessionsDep) -> ExportView:
    """Return one of your exports, without its content."""
    async with sessions() as session:
        return _view(await queries.export_of(session, export_id, permit=permit))


@router.get(
    "/{export_id}/content",
    response_model=ExportDocument,
    summary="Download an export",
    dependencies=[Depends(DOWNLOADS)],
    responses=_DOCUMENT | responses(ExportNotFound, ExportPending, ExportExpired),
)
async def download_own_export(
    export_id: UUID, request: Request, permit: OwnExportPermit, sessions: SessionsDep
) -> Response:
    """Return everything that the services had of you when the export became ready, as one JSON document."""
    async with sessions.begin() as session:
        export = await queries.export_of(session, export_id, permit=permit)
        ready = await _ready(session, export)
        await commands.note_download(session, export, origin=origin_of(request))
    logger.info("data_export_downloaded", user_id=str(export.user_id), export_id=str(export_id))
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="orderly-export-{export_id}.json"',
    }
    return StreamingResponse(document_of(sessions, ready), headers=headers, media_type="application/json")


async def _ready(session: AsyncSession, export: DataExport) -> ReadyExport:
    """Return what the document is made of. Raises: ExportPending, ExportExpired."""
    if export.status == "pending":
        raise ExportPending(extra={"missing": export.missing})
    account = await session.get_one(UserAccount, export.user_id)
    if account.personal_key is None or export.is_expired(datetime.now(UTC)):
        raise ExportExpired
    counts = await queries.part_counts(session, export.id)
    return ReadyExport(ExportHeader.model_validate(export), counts, account.personal_key)


def _view(export: DataExport) -> ExportView:
    return ExportView.of(export, now=datetime.now(UTC))
