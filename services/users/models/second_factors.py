"""Tables of second factors: authenticator apps (TOTP), recovery codes, and passkeys (WebAuthn)."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from services.users.models.declarative import Base, Id, NowByDefault


class Totp(Base):
    """The authenticator app of an account. It counts as a second factor once a first code has confirmed it."""

    __tablename__ = "totp"

    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    encrypted_secret: Mapped[str] = mapped_column(info={"encrypted": True})
    created_at: Mapped[NowByDefault]
    confirmed_at: Mapped[datetime | None]
    last_used_step: Mapped[int | None] = mapped_column(sa.BigInteger)
    """The time step of the last accepted code. Neither it nor an earlier one is accepted again."""
    wrong_codes: Mapped[int] = mapped_column(default=0)
    """Wrong codes since the last right one."""
    blocked_until: Mapped[datetime | None]
    """No code is checked until then, because there were too many wrong ones."""

    __table_args__ = (sa.CheckConstraint("wrong_codes >= 0", name="wrong_codes"),)


class RecoveryCode(Base):
    """The SHA-256 of a recovery code. The row is deleted when the code is used."""

    __tablename__ = "recovery_code"

    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    code_hash: Mapped[bytes] = mapped_column(sa.LargeBinary, primary_key=True)


class PasskeyUser(Base):
    """The WebAuthn user handle of an account: random bytes, so that an authenticator learns nothing from them."""

    __tablename__ = "passkey_user"

    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    handle: Mapped[bytes] = mapped_column(sa.LargeBinary, unique=True)


class Passkey(Base):
    """A WebAuthn credential of an account. Source: the credential record of Web Authentication Level 3."""

    __tablename__ = "passkey"

    id: Mapped[Id]
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"))
    credential_id: Mapped[bytes] = mapped_column(sa.LargeBinary, unique=True)
    public_key: Mapped[bytes] = mapped_column(sa.LargeBinary)
    """The key in COSE format."""
    sign_count: Mapped[int] = mapped_column(sa.BigInteger)
    """The authenticator's signature counter; 0 for those that have none."""
    transports: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    authenticator_id: Mapped[UUID]
    """The AAGUID: the authenticator's model, or zeros."""
    backup_eligible: Mapped[bool]
    """Whether the passkey may be copied to other devices of the user."""
    backed_up: Mapped[bool]
    """Whether it was copied when it was last used."""
    name: Mapped[str]
    created_at: Mapped[NowByDefault]
    last_used_at: Mapped[datetime | None]

    __table_args__ = (
        sa.CheckConstraint("sign_count >= 0", name="sign_count"),
        sa.Index("ix_passkey_user_id", "user_id", "created_at", "id"),
    )


class PasskeyChallenge(Base):
    """The SHA-256 of a WebAuthn challenge. The row is deleted when the challenge is answered."""

    __tablename__ = "passkey_challenge"

    challenge_hash: Mapped[bytes] = mapped_column(sa.LargeBinary, primary_key=True)
    user_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"))
    """The account that registers a passkey. None: the challenge is for a passkey of any account."""
    expires_at: Mapped[datetime]

    __table_args__ = (
        sa.Index("ix_passkey_challenge_user_id", "user_id"),
        sa.Index("ix_passkey_challenge_expires_at", "expires_at"),
    )
