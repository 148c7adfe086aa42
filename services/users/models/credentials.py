"""The table of known devices."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from services.users.models.declarative import Base, Id, NowByDefault


class KnownDevice(Base):
    """A device from which an account has signed in: the SHA-256 of the random token that it holds."""

    __tablename__ = "known_device"

    id: Mapped[Id]
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"))
    token_hash: Mapped[bytes] = mapped_column(sa.LargeBinary)
    created_at: Mapped[NowByDefault]
    last_seen_at: Mapped[NowByDefault]
    expires_at: Mapped[datetime]

    __table_args__ = (
        sa.UniqueConstraint("user_id", "token_hash", name="uq_known_device_user_id"),
        sa.Index("ix_known_device_last_seen_at", "user_id", "last_seen_at", "id"),
        sa.Index("ix_known_device_expires_at", "expires_at"),
    )
