"""The table of one-time tokens: what a mailed link carries, to prove that its holder reads the mails of an address."""

from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from services.users.models.declarative import Base
from shared.metadata import one_of

TokenPurpose = Literal["verify_email", "change_email", "reset_password"]


class OneTimeToken(Base):
    """The SHA-256 of a token. A used or replaced one is kept until it expires: the limit per hour counts it."""

    __tablename__ = "one_time_token"

    token_hash: Mapped[bytes] = mapped_column(sa.LargeBinary, primary_key=True)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"))
    purpose: Mapped[TokenPurpose] = mapped_column(sa.Text)
    email: Mapped[str]
    """The address that the token was sent to."""
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    """Time of its use, or from which on it no longer counts because another one replaced it."""

    __table_args__ = (
        sa.CheckConstraint(one_of("purpose", get_args(TokenPurpose)), name="purpose"),
        sa.Index("ix_one_time_token_user_id", "user_id", "purpose", "created_at"),
        sa.Index("ix_one_time_token_expires_at", "expires_at"),
    )
