"""Tables of sessions and their refresh tokens."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from services.users.models.declarative import Base, Id, NowByDefault


class UserSession(Base):
    """One sign-in and the family of its refresh tokens. Locking its row locks the family."""

    __tablename__ = "user_session"

    id: Mapped[Id]
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"))
    user_agent: Mapped[str | None]
    created_at: Mapped[NowByDefault]
    last_used_at: Mapped[NowByDefault]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (
        sa.Index("ix_user_session_user_id", "user_id", "created_at", "id"),
        sa.Index("ix_user_session_expires_at", "expires_at"),
    )


class RefreshToken(Base):
    """The SHA-256 of a refresh token. A used one is kept until it expires, so that its reuse is detected."""

    __tablename__ = "refresh_token"

    token_hash: Mapped[bytes] = mapped_column(sa.LargeBinary, primary_key=True)
    session_id: Mapped[UUID] = mapped_column(sa.ForeignKey("user_session.id", ondelete="CASCADE"))
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

    __table_args__ = (
        sa.Index("ix_refresh_token_session_id", "session_id"),
        sa.Index("ix_refresh_token_expires_at", "expires_at"),
    )
