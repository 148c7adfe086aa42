"""Tables of sessions and their refresh tokens."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from services.users.models.declarative import Base, Id, NowByDefault

AuthenticationMethod = Literal["password", "totp", "recovery_code", "passkey"]
"""A proof of who the user is. A passkey counts as two factors: it requires the device and its PIN or biometrics."""


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
    amr: Mapped[list[AuthenticationMethod]] = mapped_column(ARRAY(sa.Text), server_default="{}")
    """The methods of the sign-in and of later step-ups (RFC 8176's name)."""
    authenticated_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    """Time of the sign-in or of the last step-up. A refresh does not change it."""

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


class SignInChallenge(Base):
    """The SHA-256 of a challenge: a sign-in whose password was right, and that waits for the second factor."""

    __tablename__ = "sign_in_challenge"

    challenge_hash: Mapped[bytes] = mapped_column(sa.LargeBinary, primary_key=True)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"))
    attempts: Mapped[int] = mapped_column(default=0)
    expires_at: Mapped[datetime]

    __table_args__ = (
        sa.Index("ix_sign_in_challenge_user_id", "user_id"),
        sa.Index("ix_sign_in_challenge_expires_at", "expires_at"),
    )
