"""Tables of exports of users' data: the requests, and the sealed parts of the documents."""

from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from services.users.models.declarative import Base, Id, NowByDefault
from shared.metadata import one_of

ExportingService = Literal["users", "orders", "notifications"]
"""The services that have data of users."""
ExportStatus = Literal["pending", "ready"]
"""The stored status. A ready export whose time is over is shown as expired."""
EXPORTING_SERVICES: tuple[ExportingService, ...] = get_args(ExportingService)
"""The services in the order in which the document has them."""

_SERVICES = f"ARRAY[{', '.join(map(repr, EXPORTING_SERVICES))}]"


class DataExport(Base):
    """An export that a user has requested. Lock its row to change it or its parts."""

    __tablename__ = "data_export"

    id: Mapped[Id]
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"))
    status: Mapped[ExportStatus] = mapped_column(sa.Text, default="pending")
    missing: Mapped[list[ExportingService]] = mapped_column(ARRAY(sa.Text), default=lambda: sorted(EXPORTING_SERVICES))
    """The services whose data are not complete yet, in alphabetical order."""
    requested_at: Mapped[NowByDefault]
    requests: Mapped[int] = mapped_column(default=1)
    """Times that the missing services were asked."""
    next_request_at: Mapped[datetime | None]
    """Time at which the missing services are asked again; None once the export is ready."""
    ready_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]

    __table_args__ = (
        sa.CheckConstraint(one_of("status", get_args(ExportStatus)), name="status"),
        sa.CheckConstraint(f"missing <@ {_SERVICES}", name="missing"),
        sa.CheckConstraint(
            "(status = 'pending') = (next_request_at IS NOT NULL) AND (status = 'ready') = (ready_at IS NOT NULL)"
            " AND (status = 'ready') = (expires_at IS NOT NULL) AND (status = 'pending' OR missing = '{}')",
            name="ready",
        ),
        sa.Index("ix_data_export_user_id", "user_id", "requested_at", "id"),
        # One pending export a user.
        sa.Index("uq_data_export_pending", "user_id", unique=True, postgresql_where=sa.text("status = 'pending'")),
        sa.Index("ix_data_export_next_request_at", "next_request_at"),
        sa.Index("ix_data_export_requested_at", "requested_at", postgresql_where=sa.text("status = 'pending'")),
        sa.Index("ix_data_export_expires_at", "expires_at"),
    )

    def is_expired(self, now: datetime) -> bool:
        """Return whether the export was ready and can no longer be read."""
        return self.expires_at is not None and self.expires_at <= now


class DataExportPart(Base):
    """A part of one service's data, sealed with the user's personal key: unreadable once the user is erased.

    Parts of several attempts of a service are kept apart until one attempt is complete.
    """

    __tablename__ = "data_export_part"

    export_id: Mapped[UUID] = mapped_column(sa.ForeignKey("data_export.id", ondelete="CASCADE"), primary_key=True)
    service: Mapped[ExportingService] = mapped_column(sa.Text, primary_key=True)
    attempt_id: Mapped[UUID] = mapped_column(primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True)
    """The number of the part, from 1."""
    personal: Mapped[str]
    """A sealed `ExportedData`."""

    __table_args__ = (
        sa.CheckConstraint(one_of("service", EXPORTING_SERVICES), name="service"),
        sa.CheckConstraint("part > 0", name="part"),
    )
