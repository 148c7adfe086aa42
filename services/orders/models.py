"""Tables of the orders service, and the rules that guard a row."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from shared.amounts import MAX_AMOUNT_CENTS
from shared.erased_users import erased_user_table
from shared.errors import Conflict
from shared.ids import new_id
from shared.metadata import TYPE_ANNOTATIONS, one_of, service_metadata
from shared.sealed_contacts import sealed_contact_table


class OrderStatus(StrEnum):
    """The status of an order; ALLOWED_TRANSITIONS says what may follow."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    REFUNDED = "refunded"


ALLOWED_TRANSITIONS: dict[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.PENDING: frozenset({OrderStatus.CONFIRMED, OrderStatus.REJECTED, OrderStatus.CANCELLED}),
    OrderStatus.CONFIRMED: frozenset({OrderStatus.SHIPPED, OrderStatus.CANCELLED}),
    OrderStatus.SHIPPED: frozenset({OrderStatus.DELIVERED, OrderStatus.REFUNDED}),
    OrderStatus.DELIVERED: frozenset({OrderStatus.REFUNDED}),
    OrderStatus.REJECTED: frozenset(),
    OrderStatus.CANCELLED: frozenset(),
    OrderStatus.REFUNDED: frozenset(),
}
"""The statuses that may follow each status."""

OPEN_STATUSES = (OrderStatus.PENDING, OrderStatus.CONFIRMED)
"""Statuses of an order that reserves stock and was not shipped: it can be cancelled."""

ActorKind = Literal["customer", "support", "system"]
Text16 = sa.String(16)


class TransitionNotAllowed(Conflict):
    """The order's status does not allow this."""

    code = "transition_not_allowed"

    def __init__(self, *, before: OrderStatus, after: OrderStatus) -> None:
        super().__init__(f"The order is {before} and can't become {after}.", extra={"from": before, "to": after})


class RefundExceedsTotal(Conflict):
    """The refund exceeds what is left of the order's total."""

    code = "refund_exceeds_total"


class StockBelowReserved(Conflict):
    """The stock is lower than what open orders have reserved."""

    code = "stock_below_reserved"


class Base(DeclarativeBase):
    """The declarative base of this service's tables."""

    metadata = service_metadata()
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        **TYPE_ANNOTATIONS,
        OrderStatus: sa.Enum(
            OrderStatus,
            native_enum=False,
            create_constraint=False,
            length=Text16.length,
            values_callable=lambda statuses: [status.value for status in statuses],
        ),
    }


# Registers the sequence for `alembic check`; `stock.py` takes its values.
order_number_sequence = sa.Sequence("order_number", metadata=Base.metadata)
sealed_contact_table(Base.metadata)
erased_user_table(Base.metadata)


class Product(Base):
    """A product and its stock.

    `version` counts changes of all columns except `reserved`. Every order changes that one, so an update with If-Match
    would rarely succeed for a product that sells well.
    """

    __tablename__ = "product"
    __table_args__ = (
        sa.CheckConstraint(f"price_cents BETWEEN 1 AND {MAX_AMOUNT_CENTS}", name="price"),
        sa.CheckConstraint("reserved >= 0 AND reserved <= stock", name="reserved_within_stock"),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_code"),
        sa.Index("ix_product_name_trigrams", "name", postgresql_using="gin", postgresql_ops={"name": "gin_trgm_ops"}),
    )

    sku: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    description: Mapped[str]
    price_cents: Mapped[int] = mapped_column(sa.BigInteger)
    currency: Mapped[str]
    stock: Mapped[int]
    reserved: Mapped[int] = mapped_column(default=0)
    active: Mapped[bool] = mapped_column(default=True)
    version: Mapped[int] = mapped_column()

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - SQLAlchemy's own form

    @property
    def available(self) -> int:
        """Stock that no open order has reserved."""
        return self.stock - self.reserved

    def set_stock(self, stock: int) -> None:
        """Set the stock, which must cover what is reserved. Raises: StockBelowReserved."""
        if stock < self.reserved:
            raise StockBelowReserved(extra={"reserved": self.reserved})
        self.stock = stock


class Customer(Base):
    """A replica of a user's e-mail address and name, kept up to date by events of the users service."""

    __tablename__ = "customer"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str]
    name: Mapped[str]
    # Of the event that wrote the row: an earlier one must not overwrite it, whenever it is applied.
    sequence: Mapped[int] = mapped_column(sa.BigInteger)


class Order(Base):
    """An order. Ids sort by age, so lists are ordered by them."""

    __tablename__ = "customer_order"
    __table_args__ = (
        sa.UniqueConstraint("number"),
        sa.CheckConstraint(one_of("status", OrderStatus), name="status_known"),
        sa.CheckConstraint(f"total_cents BETWEEN 1 AND {MAX_AMOUNT_CENTS}", name="total"),
        sa.CheckConstraint("refunded_cents >= 0 AND refunded_cents <= total_cents", name="refunded_within_total"),
        sa.Index("ix_customer_order_user_id_id", "user_id", "id"),
        sa.Index("ix_customer_order_status_id", "status", "id"),
        sa.CheckConstraint("units > 0", name="units_positive"),
        sa.Index("ix_customer_order_deadline_pending", "deadline", postgresql_where=sa.text("status = 'pending'")),
        sa.Index(
            "ix_customer_order_user_id_pending",
            "user_id",
            postgresql_include=["units"],
            postgresql_where=sa.text("status = 'pending'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    number: Mapped[str]
    # No foreign key: the customer can place an order before `user.created` arrives here.
    user_id: Mapped[UUID]
    status: Mapped[OrderStatus] = mapped_column(default=OrderStatus.PENDING)
    currency: Mapped[str]
    total_cents: Mapped[int] = mapped_column(sa.BigInteger)
    refunded_cents: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    units: Mapped[int]
    """The sum of the items' quantities."""
    deadline: Mapped[datetime]
    version: Mapped[int] = mapped_column()
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    items: Mapped[list["OrderItem"]] = relationship(lazy="raise", order_by="OrderItem.position")
    timeline: Mapped[list["TimelineEntry"]] = relationship(lazy="raise", order_by="TimelineEntry.id")

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - SQLAlchemy's own form

    def move_to(self, status: OrderStatus) -> None:
        """Move the order to another status. Raises: TransitionNotAllowed."""
        if status not in ALLOWED_TRANSITIONS[self.status]:
            raise TransitionNotAllowed(before=self.status, after=status)
        self.status = status
        self.updated_at = datetime.now(UTC)

    def refund(self, amount_cents: int) -> None:
        """Refund an amount. When the whole total is refunded, the order's status becomes refunded.

        Raises: TransitionNotAllowed, RefundExceedsTotal.
        """
        if OrderStatus.REFUNDED not in ALLOWED_TRANSITIONS[self.status]:
            raise TransitionNotAllowed(before=self.status, after=OrderStatus.REFUNDED)
        refundable_cents = self.total_cents - self.refunded_cents
        if amount_cents > refundable_cents:
            raise RefundExceedsTotal(extra={"refundable_cents": refundable_cents})
        self.refunded_cents += amount_cents
        self.updated_at = datetime.now(UTC)
        if self.refunded_cents == self.total_cents:
            self.move_to(OrderStatus.REFUNDED)


class OverdueOrder(Base):
    """An order that is past its deadline and could not be cancelled: an operator has to correct its data first.

    The job tries it again by itself, and the other overdue orders do not wait for it.
    """

    __tablename__ = "overdue_order"

    order_id: Mapped[UUID] = mapped_column(sa.ForeignKey("customer_order.id", ondelete="CASCADE"), primary_key=True)
    failures: Mapped[int]
    error: Mapped[str]
    """A description by `describe_error`, without values of rows."""
    next_try_at: Mapped[datetime]


class OrderItem(Base):
    """One product of an order, with the price at which it was ordered. A product is on an order once."""

    __tablename__ = "order_item"
    __table_args__ = (
        sa.CheckConstraint("quantity > 0", name="quantity_positive"),
        sa.CheckConstraint(f"unit_price_cents BETWEEN 1 AND {MAX_AMOUNT_CENTS}", name="unit_price"),
    )

    order_id: Mapped[UUID] = mapped_column(sa.ForeignKey("customer_order.id"), primary_key=True)
    sku: Mapped[str] = mapped_column(sa.ForeignKey("product.sku"), primary_key=True)
    position: Mapped[int]
    name: Mapped[str]
    unit_price_cents: Mapped[int] = mapped_column(sa.BigInteger)
    quantity: Mapped[int]


class TimelineEntry(Base):
    """One event in an order's life: the status after it, who did it, why, and the amount if it is a refund."""

    __tablename__ = "order_timeline"

    order_id: Mapped[UUID] = mapped_column(sa.ForeignKey("customer_order.id"), primary_key=True)
    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
    status: Mapped[OrderStatus]
    actor: Mapped[ActorKind] = mapped_column(Text16)
    actor_id: Mapped[UUID | None]
    reason: Mapped[str | None]
    amount_cents: Mapped[int | None] = mapped_column(sa.BigInteger)
