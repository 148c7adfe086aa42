"""Tables of the users service, and the rules that guard a row."""

from datetime import UTC, datetime
from typing import Annotated, Literal, get_args
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.amounts import MAX_AMOUNT_CENTS
from shared.events.users import CreditRefusedReason
from shared.ids import new_id
from shared.metadata import TYPE_ANNOTATIONS, one_of, service_metadata

Role = Literal["customer", "support", "admin"]
UserStatus = Literal["active", "suspended"]
"""Only the user of an active account can sign in, refresh a session, and get credit for an order."""
ReservationStatus = Literal["reserved", "refused", "released", "used"]


def _now() -> datetime:
    return datetime.now(UTC)


Cents = Annotated[int, mapped_column(sa.BigInteger)]
Id = Annotated[UUID, mapped_column(primary_key=True, default=new_id)]
NowByDefault = Annotated[datetime, mapped_column(default=_now)]


class Base(DeclarativeBase):
    """The declarative base of this service's tables."""

    metadata = service_metadata()
    type_annotation_map = TYPE_ANNOTATIONS


class UserAccount(Base):
    """A user. `version` counts changes of what `GET /v1/users/me` shows."""

    __tablename__ = "user_account"

    id: Mapped[Id]
    email: Mapped[str]
    name: Mapped[str]
    phone: Mapped[str | None]
    locale: Mapped[str]
    time_zone: Mapped[str]
    roles: Mapped[list[Role]] = mapped_column(ARRAY(sa.Text))
    status: Mapped[UserStatus] = mapped_column(sa.Text, default="active")
    password_hash: Mapped[str]
    email_verified_at: Mapped[datetime | None]
    created_at: Mapped[NowByDefault]
    updated_at: Mapped[NowByDefault]
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - SQLAlchemy's own form
    __table_args__ = (
        sa.CheckConstraint(one_of("status", get_args(UserStatus)), name="status"),
        sa.CheckConstraint("roles <@ ARRAY['customer', 'support', 'admin'] AND cardinality(roles) > 0", name="roles"),
        sa.Index("ix_user_account_lower_email", sa.text("lower(email)"), unique=True),
        sa.Index("ix_user_account_created_at", "created_at", "id"),
        sa.Index("ix_user_account_status", "status", "created_at", "id"),
    )


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


class CreditAccount(Base):
    """A user's credit: reserved + used <= limit. Change it only while its row is locked."""

    __tablename__ = "credit_account"

    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("user_account.id", ondelete="CASCADE"), primary_key=True)
    limit_cents: Mapped[Cents]
    reserved_cents: Mapped[Cents] = mapped_column(default=0)
    used_cents: Mapped[Cents] = mapped_column(default=0)
    currency: Mapped[str]

    __table_args__ = (
        sa.CheckConstraint("reserved_cents >= 0 AND used_cents >= 0", name="not_negative"),
        sa.CheckConstraint("reserved_cents + used_cents <= limit_cents", name="within_limit"),
        sa.CheckConstraint(f"limit_cents <= {MAX_AMOUNT_CENTS}", name="limit_bounded"),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
    )

    @property
    def taken_cents(self) -> int:
        """Reserved and used credit together."""
        return self.reserved_cents + self.used_cents

    @property
    def available_cents(self) -> int:
        """Credit that is neither reserved nor used."""
        return self.limit_cents - self.taken_cents

    def reason_to_refuse(self, amount_cents: int, *, currency: str) -> CreditRefusedReason | None:
        """Return why this amount can't be reserved; None if it can."""
        if currency != self.currency:
            return "currency_mismatch"
        return "limit_exceeded" if amount_cents > self.available_cents else None

    def reserve(self, amount_cents: int) -> None:
        """Reserve credit for an order."""
        self.reserved_cents += amount_cents

    def release(self, amount_cents: int) -> None:
        """Release reserved credit."""
        self.reserved_cents -= amount_cents

    def use(self, amount_cents: int) -> None:
        """Turn reserved credit into used credit."""
        self.reserved_cents -= amount_cents
        self.used_cents += amount_cents

    def refund(self, amount_cents: int) -> None:
        """Return used credit."""
        self.used_cents -= amount_cents


class CreditReservation(Base):
    """The credit of one order. There is no foreign key, because an order may name an unknown user."""

    __tablename__ = "credit_reservation"

    order_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    amount_cents: Mapped[Cents]
    refunded_cents: Mapped[Cents] = mapped_column(default=0)
    currency: Mapped[str]
    status: Mapped[ReservationStatus] = mapped_column(sa.Text)
    reason: Mapped[CreditRefusedReason | None] = mapped_column(sa.Text)
    created_at: Mapped[NowByDefault]
    updated_at: Mapped[NowByDefault]

    __table_args__ = (
        sa.CheckConstraint(one_of("status", get_args(ReservationStatus)), name="status"),
        sa.CheckConstraint("(status = 'refused') = (reason IS NOT NULL)", name="reason"),
        sa.CheckConstraint(f"amount_cents BETWEEN 0 AND {MAX_AMOUNT_CENTS}", name="amount"),
        sa.CheckConstraint("refunded_cents BETWEEN 0 AND amount_cents", name="refunded"),
        sa.CheckConstraint("refunded_cents = 0 OR status = 'used'", name="refunded_when_used"),
        sa.Index("ix_credit_reservation_user_id", "user_id", "status"),
    )
