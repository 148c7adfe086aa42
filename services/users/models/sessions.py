"""Tables of sessions, their refresh tokens, and the keys that sign their access tokens."""

from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from services.users.models.declarative import Base, Id, NowByDefault

AuthenticationMethod = Literal["pwd", "otp", "hwk", "rc"]
"""Ways to prove who one is, as `amr` of RFC 8176: password, one-time password, passkey; `rc`: recovery code."""

_METHODS = f"ARRAY[{', '.join(map(repr, get_args(AuthenticationMethod)))}]"


class UserSession(Base):
    """One sign-in and the family of its refresh tokens. Locking its row locks the family."""

    __tablename__ = "user_session"

    id: Mapped[Id]
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"))
    address: Mapped[str | None]
    """The client's address at the last use. Personal data."""
    user_agent: Mapped[str | None]
    """The User-Agent at the last use. Personal data."""
    device: Mapped[str]
    """A name for people, such as `Firefox on Linux`, made of the User-Agent."""
    amr: Mapped[list[AuthenticationMethod]] = mapped_column(ARRAY(sa.Text))
    authenticated_at: Mapped[NowByDefault]
    """Time at which the user last proved who they are. A refresh does not change it."""
    created_at: Mapped[NowByDefault]
    last_used_at: Mapped[NowByDefault]
    expires_at: Mapped[datetime]
    """Each refresh moves it, up to the session's absolute end."""
    ends_at: Mapped[datetime]
    """The absolute end: no refresh moves it."""
    revoked_at: Mapped[datetime | None]

    __table_args__ = (
        sa.CheckConstraint(f"amr <@ {_METHODS} AND cardinality(amr) > 0", name="amr"),
        sa.CheckConstraint("expires_at <= ends_at", name="ends"),
        sa.Index("ix_user_session_user_id", "user_id", "created_at", "id"),
        sa.Index("ix_user_session_expires_at", "expires_at"),
    )


class RevokedSession(Base):
    """A session that was revoked while one of its access tokens might be valid: what the other services ask for.

    No foreign key: a revocation has to outlive an account that is deleted.
    """

    __tablename__ = "revoked_session"

    session_id: Mapped[UUID] = mapped_column(primary_key=True)
    revoked_at: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())

    __table_args__ = (sa.Index("ix_revoked_session_revoked_at", "revoked_at"),)


class RefreshToken(Base):
    """The SHA-256 of a refresh token. A used one is kept until it expires, so that its reuse is detected."""

    __tablename__ = "refresh_token"

    token_hash: Mapped[bytes] = mapped_column(sa.LargeBinary, primary_key=True)
    session_id: Mapped[UUID] = mapped_column(sa.ForeignKey("user_session.id", ondelete="CASCADE"))
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    sealed_successor: Mapped[bytes | None] = mapped_column(sa.LargeBinary)
    """The next token, encrypted with a key that only this token yields; removed when the grace is over."""

    __table_args__ = (
        sa.Index("ix_refresh_token_session_id", "session_id"),
        sa.Index("ix_refresh_token_expires_at", "expires_at"),
        sa.Index("ix_refresh_token_used_at", "used_at", postgresql_where=sa.text("sealed_successor IS NOT NULL")),
    )


class SignInChallenge(Base):
    """The SHA-256 of a challenge: a sign-in with a right password that waits for the second factor."""

    __tablename__ = "sign_in_challenge"

    token_hash: Mapped[bytes] = mapped_column(sa.LargeBinary, primary_key=True)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"))
    amr: Mapped[list[AuthenticationMethod]] = mapped_column(ARRAY(sa.Text))
    """The methods so far."""
    attempts: Mapped[int] = mapped_column(default=0)
    expires_at: Mapped[datetime]

    __table_args__ = (
        sa.CheckConstraint(f"amr <@ {_METHODS} AND cardinality(amr) > 0", name="amr"),
        sa.Index("ix_sign_in_challenge_user_id", "user_id"),
        sa.Index("ix_sign_in_challenge_expires_at", "expires_at"),
    )


class SigningKey(Base):
    """An Ed25519 key of access tokens. The one that began to sign last signs; all that are not withdrawn verify."""

    __tablename__ = "signing_key"

    kid: Mapped[str] = mapped_column(primary_key=True)
    private_key: Mapped[str | None] = mapped_column(info={"encrypted": True})
    """The 32 bytes of the key, encrypted. None: the key has been withdrawn."""
    public_key: Mapped[bytes] = mapped_column(sa.LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.clock_timestamp())
    signs_from: Mapped[datetime]
    """The key is published before, so that every verifier knows it by then."""
    withdrawn_at: Mapped[datetime | None]

    __table_args__ = (sa.CheckConstraint("(private_key IS NULL) = (withdrawn_at IS NOT NULL)", name="withdrawn"),)
