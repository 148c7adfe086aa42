"""Tables of erasures: the receipts, and the acknowledgements of the other services.

No foreign key to the account: a receipt outlives whatever it is about.
"""

from datetime import datetime
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from services.users.models.declarative import Base


class Erasure(Base):
    """The erasure of one user. It is pending until every service and this one have erased the user's personal data.

    The id is random, and no UUIDv7: whoever knows it can read the receipt without signing in.
    """

    __tablename__ = "erasure"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    user_id: Mapped[UUID] = mapped_column(unique=True)
    requested_at: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())
    requested_by: Mapped[str]
    """The id of the user or the admin, or the operator who ran a command."""
    asked: Mapped[int] = mapped_column(default=1)
    """Number of times that the other services were asked."""
    last_asked_at: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())
    completed_at: Mapped[datetime | None]

    __table_args__ = (
        sa.CheckConstraint("asked > 0", name="asked"),
        sa.Index("ix_erasure_requested_at", "requested_at", "id"),
        sa.Index("ix_erasure_pending", "requested_at", "id", postgresql_where=sa.text("completed_at IS NULL")),
        sa.Index("ix_erasure_completed", "requested_at", "id", postgresql_where=sa.text("completed_at IS NOT NULL")),
    )


class ErasureAcknowledgement(Base):
    """The answer of one service: it has erased the user's personal data."""

    __tablename__ = "erasure_acknowledgement"

    erasure_id: Mapped[UUID] = mapped_column(sa.ForeignKey("erasure.id"), primary_key=True)
    service: Mapped[str] = mapped_column(primary_key=True)
    acknowledged_at: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())
