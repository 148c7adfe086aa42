"""Commands of exports: request one, store the parts that services send, finish it, ask again, purge."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
import structlog
from pydantic import BaseModel
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.accounts import UserAccount
from services.users.models.data_export import DataExport, DataExportPart, ExportingService
from services.users.recovery.queries import lock_active_account
from services.users.security_record.commands import Origin, append
from shared.errors import TooManyRequests
from shared.events.exported_data import DataExportedEvent
from shared.events.users import ExportReady, ExportRequested
from shared.ids import new_id
from shared.jobs import enqueue
from shared.messaging.outbox.outbox import record
from shared.statements import array_rows, count_deleted, delete_older

logger = structlog.get_logger(__name__)

FINISH_JOB = "finish_data_export"
OWN: ExportingService = "users"
"""Name of this service, whose data are collected last."""
COUNTED_FOR = timedelta(hours=24)
"""Time for which an export counts towards the limit of its user."""
INITIAL_DELAY = timedelta(minutes=10)
"""Time until the missing services are asked again; it doubles each time."""
MAX_DELAY = timedelta(hours=6)
DOWNLOAD_TIMEOUT = timedelta(hours=1)
"""Time for which the parts are kept after the expiry, for a download that began before it."""
RETENTION = timedelta(days=30)
"""Time for which an expired export is still listed."""


class TooManyExports(TooManyRequests):
    """You have requested too many exports within a day."""

    code = "too_many_exports"


class FinishJob(BaseModel):
    """The payload of FINISH_JOB."""

    export_id: UUID


class Requested(NamedTuple):
    """An export that is pending, and whether this request has made it."""

    export: DataExport
    is_new: bool


class Unfinished(NamedTuple):
    """An export that only lacks this service's data, and the key that seals them."""

    user_id: UUID
    key: bytes


async def request_export(session: AsyncSession, *, user_id: UUID, max_per_day: int, origin: Origin) -> Requested:
    """Request an export, or return the one that is pending. Locks the account, so that requests wait for each other.

    Raises: UserNotFound, AccountInactive, TooManyExports.
    """
    await lock_active_account(session, user_id)
    pending = sa.select(DataExport).where(DataExport.user_id == user_id, DataExport.status == "pending")
    export = await session.scalar(pending)
    if export is not None:
        return Requested(export, is_new=False)
    now = datetime.now(UTC)
    recent = sa.select(sa.func.count(), sa.func.min(DataExport.requested_at)).where(
        DataExport.user_id == user_id, DataExport.requested_at > now - COUNTED_FOR
    )
    count, oldest = (await session.execute(recent)).one()
    if count >= max_per_day:
        raise TooManyExports(retry_after=oldest + COUNTED_FOR - now)
    export = DataExport(id=new_id(), user_id=user_id, requested_at=now, next_request_at=now + INITIAL_DELAY)
    session.add(export)
    await session.flush()  # sets the defaults that the response shows
    record(session, ExportRequested(user_id=user_id, request_id=export.id))
    await _note(session, export, action="requested", origin=origin)
    return Requested(export, is_new=True)


async def note_download(session: AsyncSession, export: DataExport, *, origin: Origin) -> None:
    """Append to the security record that an export was downloaded."""
    await _note(session, export, action="downloaded", origin=origin)


async def store_parts(session: AsyncSession, service: ExportingService, events: Sequence[DataExportedEvent]) -> None:
    """Store parts that a service has sent. The first attempt of which all parts are here is the service's answer.

    Later parts, and those of an unknown export or another user's, are ignored. Repeatable. Locks exports ordered by id.
    """
    wanted = sa.select(DataExport).where(DataExport.id.in_({event.request_id for event in events}))
    locked = await session.scalars(wanted.order_by(DataExport.id).with_for_update())
    exports = {export.id: export for export in locked}
    for event in events:
        export = exports.get(event.request_id)
        if export is None or export.user_id != event.user_id or service not in export.missing:
            logger.info("data_export_part_ignored", export_id=str(event.request_id), service=service, part=event.part)
        elif await _store_part(session, service, event):
            await _complete(session, export, service, attempt_id=event.attempt_id)


async def unfinished_export(session: AsyncSession, export_id: UUID) -> Unfinished | None:
    """Return an export that only lacks this service's data; None if there is none, or its user was erased."""
    found = await session.execute(
        sa.select(DataExport.user_id, UserAccount.personal_key)
        .join(UserAccount, UserAccount.id == DataExport.user_id)
        .where(DataExport.id == export_id, DataExport.missing == [OWN], UserAccount.personal_key.is_not(None))
    )
    row = found.one_or_none()
    return None if row is None else Unfinished(row.user_id, row.personal_key)


async def finish_export(
    session: AsyncSession, export_id: UUID, *, user_id: UUID, sealed: Sequence[str], lifetime: timedelta
) -> bool:
    """Store this service's parts, and tell the user that the export is ready. Return whether it was pending before.

    Locks the account against an erasure, then the export.
    """
    account = await session.get(UserAccount, user_id, with_for_update={"read": True}, populate_existing=True)
    export = await session.get(DataExport, export_id, with_for_update=True, populate_existing=True)
    if account is None or account.personal_key is None or export is None or export.missing != [OWN]:
        return False
    attempt_id, now = new_id(), datetime.now(UTC)
    rows = array_rows("given", part=(range(1, len(sealed) + 1), sa.Integer), personal=(sealed, sa.Text))
    columns = ["export_id", "service", "attempt_id", "part", "personal"]
    ids = (sa.literal(export_id), sa.literal(OWN), sa.literal(attempt_id))
    await session.execute(insert(DataExportPart).from_select(columns, sa.select(*ids, rows.c.part, rows.c.personal)))
    export.missing, export.status, export.next_request_at = [], "ready", None
    export.ready_at, export.expires_at = now, now + lifetime
    record(session, ExportReady(user_id=user_id, request_id=export_id, expires_at=export.expires_at))
    return True


async def request_again(session: AsyncSession, *, limit: int) -> int:
    """Ask again for what is missing of at most `limit` exports that are due; return how many there were.

    Exports of erased users are deleted: nobody answers them. Repeat it, in a transaction each, until it returns 0.
    """
    due = (
        sa.select(DataExport, UserAccount.personal_key.is_(None))
        .join(UserAccount, UserAccount.id == DataExport.user_id)
        .where(DataExport.next_request_at <= sa.func.now())
        .order_by(DataExport.next_request_at)
        .limit(limit)
        .with_for_update(of=DataExport, skip_locked=True)
    )
    found = (await session.execute(due)).all()
    for export, is_erased in found:
        if is_erased:
            await session.delete(export)
            continue
        export.next_request_at = datetime.now(UTC) + _delay_after(export.requests)
        export.requests += 1
        if export.missing == [OWN]:
            await _enqueue_finish(session, export)
        else:
            record(session, ExportRequested(user_id=export.user_id, request_id=export.id))
        logger.warning("data_export_requested_again", export_id=str(export.id), missing=export.missing)
    return len(found)


async def purge_parts(session: AsyncSession, *, now: datetime, limit: int) -> int:
    """Delete the parts of at most `limit` expired exports; return how many parts."""
    has_parts = sa.exists().where(DataExportPart.export_id == DataExport.id)
    expired = sa.select(DataExport.id).where(DataExport.expires_at < now - DOWNLOAD_TIMEOUT, has_parts)
    oldest = expired.order_by(DataExport.expires_at).limit(limit).with_for_update(skip_locked=True)
    return await count_deleted(session, sa.delete(DataExportPart).where(DataExportPart.export_id.in_(oldest)))


async def purge_exports(session: AsyncSession, *, now: datetime, limit: int) -> int:
    """Delete at most `limit` exports that expired long ago; return how many."""
    return await delete_older(session, DataExport.id, time=DataExport.expires_at, than=now - RETENTION, limit=limit)


def _delay_after(requests: int) -> timedelta:
    """Return the time until the next request, after this many."""
    # Bounded, so that the product does not overflow.
    return min(INITIAL_DELAY * (1 << min(requests, 10)), MAX_DELAY)


async def _store_part(session: AsyncSession, service: ExportingService, event: DataExportedEvent) -> bool:
    """Store a part, and return whether all parts of its attempt are here."""
    attempt = {"export_id": event.request_id, "service": service, "attempt_id": event.attempt_id}
    row = {**attempt, "part": event.part, "personal": event.personal}
    await session.execute(insert(DataExportPart).values(row).on_conflict_do_nothing())
    stored = sa.select(sa.func.count()).select_from(DataExportPart).filter_by(**attempt)
    return await session.scalar(stored.where(DataExportPart.part <= event.parts)) == event.parts


async def _complete(session: AsyncSession, export: DataExport, service: ExportingService, *, attempt_id: UUID) -> None:
    """Take an attempt as the service's answer. If it was the last one, collect this service's own data."""
    await session.execute(
        sa.delete(DataExportPart)
        .filter_by(export_id=export.id, service=service)
        .where(DataExportPart.attempt_id != attempt_id),
        execution_options={"synchronize_session": False},
    )
    export.missing = [each for each in export.missing if each != service]
    if export.missing == [OWN]:
        await _enqueue_finish(session, export)


async def _enqueue_finish(session: AsyncSession, export: DataExport) -> None:
    await enqueue(session, FINISH_JOB, FinishJob(export_id=export.id).model_dump_json().encode())


async def _note(session: AsyncSession, export: DataExport, *, action: str, origin: Origin) -> None:
    details = {"export_id": str(export.id), "action": action}
    await append(session, "data_exported", user_id=export.user_id, actor=export.user_id, origin=origin, details=details)
