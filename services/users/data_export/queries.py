"""Queries of exports."""

from collections.abc import Mapping
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.data_export import DataExport, DataExportPart
from shared.errors import NotFound
from shared.http.auth import Permit


class ExportNotFound(NotFound):
    """There is no such export."""

    code = "export_not_found"


async def export_of(session: AsyncSession, export_id: UUID, *, permit: Permit) -> DataExport:
    """Return an export. Raises: ExportNotFound, or the denial of the permit."""
    export = await session.get(DataExport, export_id)
    if export is None:
        raise ExportNotFound
    permit.check_owner(export.user_id)
    return export


def exports_newest_first(user_id: UUID) -> sa.Select[DataExport]:
    """Select the exports of a user, newest first."""
    return (
        sa.select(DataExport)
        .where(DataExport.user_id == user_id)
        .order_by(DataExport.requested_at.desc(), DataExport.id.desc())
    )


async def part_counts(session: AsyncSession, export_id: UUID) -> Mapping[str, int]:
    """Return the number of parts of each service. A ready export has the parts of one attempt of each."""
    count = sa.func.count().label("parts")
    counted = sa.select(DataExportPart.service, count).where(DataExportPart.export_id == export_id)
    rows = await session.execute(counted.group_by(DataExportPart.service))
    return {row.service: row.parts for row in rows}


async def sealed_part(session: AsyncSession, export_id: UUID, *, service: str, part: int) -> str | None:
    """Return a sealed part of a ready export; None if it was purged."""
    return await session.scalar(
        sa.select(DataExportPart.personal).where(
            DataExportPart.export_id == export_id, DataExportPart.service == service, DataExportPart.part == part
        )
    )
