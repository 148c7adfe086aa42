"""Tables of credit, and the rules that guard a row."""

from typing import Literal, NamedTuple, get_args
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from services.users.models.declarative import Base, Cents, NowByDefault
from shared.amounts import MAX_AMOUNT_CENTS
from shared.events.users import CreditRefusedReason
from shared.metadata import one_of

ReservationStatus = Literal["reserved", "refused", "released", "used"]
CreditEntryKind = Literal["opened", "reserved", "released", "used", "refunded", "limit_changed", "corrected"]


class Balances(NamedTuple):
    """The three amounts of a credit account, in cents."""

    reserved_cents: int
    used_cents: int
    limit_cents: int


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
    def balances(self) -> Balances:
        """The three amounts as they are now."""
        return Balances(self.reserved_cents, self.used_cents, self.limit_cents)

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


class CreditEntry(Base):
    """One entry of the ledger: a change of a credit account, and its balances after it.

    The sums of an account's deltas are its balances. A trigger keeps the ledger append-only: an entry goes only with
    its account, and only its reason can be removed, since an operator may have written personal data into it.
    """

    __tablename__ = "credit_entry"

    # The user comes first: the primary key's index serves the list of an account's entries, and no other is needed.
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("credit_account.user_id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    """The id, assigned while the account is locked: the ids of one account are in the order of the commits."""
    order_id: Mapped[UUID | None]
    """The order that changed the account; None for a change of the limit and for a recomputed account."""
    kind: Mapped[CreditEntryKind] = mapped_column(sa.Text)
    reserved_delta_cents: Mapped[Cents]
    used_delta_cents: Mapped[Cents]
    limit_delta_cents: Mapped[Cents]
    reserved_cents: Mapped[Cents]
    used_cents: Mapped[Cents]
    limit_cents: Mapped[Cents]
    actor: Mapped[str | None]
    """The id of the admin, or the operator of the command, who made the change; None if an event did."""
    reason: Mapped[str | None]
    """The operator's note."""
    created_at: Mapped[NowByDefault]

    __table_args__ = (
        sa.CheckConstraint(one_of("kind", get_args(CreditEntryKind)), name="kind"),
        sa.CheckConstraint("order_id IS NOT NULL OR kind IN ('opened', 'limit_changed', 'corrected')", name="order"),
        sa.CheckConstraint("reserved_cents >= 0 AND used_cents >= 0", name="not_negative"),
        sa.CheckConstraint("reserved_cents + used_cents <= limit_cents", name="within_limit"),
        sa.Index("ix_credit_entry_order_id", "order_id", "id", postgresql_where=sa.text("order_id IS NOT NULL")),
        # The record of who changed credit by hand.
        sa.Index("ix_credit_entry_by_hand", "created_at", "id", postgresql_where=sa.text("actor IS NOT NULL")),
    )
