"""The tables of orders, and the rules that guard a row."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from shared.errors import Conflict, NotFound, PreconditionFailed
from shared.ids import new_id
from shared.metadata import TYPE_ANNOTATIONS, service_metadata


class OrderStatus(StrEnum):
    """Where an order is on its way."""

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
"""Everything that may happen to an order; what is not here is refused."""

ActorKind = Literal["customer", "support", "system"]
Text16 = sa.String(16)


class OrderNotFound(NotFound):
    """There is no such order."""

    code = "order_not_found"


class ProductNotFound(NotFound):
    """There is no such product."""

    code = "product_not_found"


class TransitionNotAllowed(Conflict):
    """The order's state does not allow this."""

    code = "transition_not_allowed"

    def __init__(self, *, before: OrderStatus, after: OrderStatus) -> None:
        super().__init__(f"An order that is {before} can't become {after}.", extra={"from": before, "to": after})


class RefundExceedsTotal(Conflict):
    """No more can be refunded than was charged."""

    code = "refund_exceeds_total"


class StockBelowReserved(Conflict):
    """Open orders hold more than this stock."""

    code = "stock_below_reserved"


class Base(DeclarativeBase):
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


order_number_sequence = sa.Sequence("order_number", metadata=Base.metadata)


class Product(Base):
    """What can be ordered, and how much of it there is.

    `version` counts changes of the catalogue and of `stock`, not reservations: on a product that sells well a change
    guarded by If-Match would never get through.
    """

    __tablename__ = "product"
    __table_args__ = (
        sa.CheckConstraint("price_cents > 0", name="price_positive"),
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

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - SQLAlchemy's own name and type

    @property
    def available(self) -> int:
        return self.stock - self.reserved

    def set_stock(self, stock: int) -> None:
        """Raises: StockBelowReserved."""
        if stock < self.reserved:
            raise StockBelowReserved(extra={"reserved": self.reserved})
        self.stock = stock


class Customer(Base):
    """What support sees of a user: a replica, kept from the users service's events."""

    __tablename__ = "customer"

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str]
    name: Mapped[str]


class Order(Base):
    """An order. Its id sorts by age, so lists are ordered by it."""

    __tablename__ = "customer_order"
    __table_args__ = (
        sa.UniqueConstraint("number"),
        sa.CheckConstraint(
            "status IN ('pending', 'confirmed', 'rejected', 'cancelled', 'shipped', 'delivered', 'refunded')",
            name="status_known",
        ),
        sa.CheckConstraint("total_cents > 0", name="total_positive"),
        sa.CheckConstraint("refunded_cents >= 0 AND refunded_cents <= total_cents", name="refunded_within_total"),
        sa.Index("ix_customer_order_user_id_id", "user_id", "id"),
        sa.Index("ix_customer_order_status_id", "status", "id"),
        sa.Index("ix_customer_order_deadline_pending", "deadline", postgresql_where=sa.text("status = 'pending'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    number: Mapped[str]
    # No foreign key: an order may come before the event that tells of its customer.
    user_id: Mapped[UUID]
    status: Mapped[OrderStatus] = mapped_column(default=OrderStatus.PENDING)
    currency: Mapped[str]
    total_cents: Mapped[int] = mapped_column(sa.BigInteger)
    refunded_cents: Mapped[int] = mapped_column(sa.BigInteger, default=0)
    deadline: Mapped[datetime]
    version: Mapped[int] = mapped_column()
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    items: Mapped[list["OrderItem"]] = relationship(lazy="raise", order_by="OrderItem.position")
    timeline: Mapped[list["TimelineEntry"]] = relationship(lazy="raise", order_by="TimelineEntry.id")

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 - as above

    def move_to(self, status: OrderStatus) -> None:
        """Raises: TransitionNotAllowed."""
        if status not in ALLOWED_TRANSITIONS[self.status]:
            raise TransitionNotAllowed(before=self.status, after=status)
        self.status = status
        self.updated_at = datetime.now(UTC)

    def refund(self, amount_cents: int) -> None:
        """Give back a part; the order is refunded when all of it is.

        Raises: TransitionNotAllowed, RefundExceedsTotal.
        """
        if OrderStatus.REFUNDED not in ALLOWED_TRANSITIONS[self.status]:
            raise TransitionNotAllowed(before=self.status, after=OrderStatus.REFUNDED)
        left = self.total_cents - self.refunded_cents
        if amount_cents > left:
            raise RefundExceedsTotal(extra={"refundable_cents": left})
        self.refunded_cents += amount_cents
        self.updated_at = datetime.now(UTC)
        if self.refunded_cents == self.total_cents:
            self.move_to(OrderStatus.REFUNDED)


class OrderItem(Base):
    """One product of an order, at the price of the day. The key says it: a product is on an order once."""

    __tablename__ = "order_item"
    __table_args__ = (
        sa.CheckConstraint("quantity > 0", name="quantity_positive"),
        sa.CheckConstraint("unit_price_cents > 0", name="unit_price_positive"),
    )

    order_id: Mapped[UUID] = mapped_column(sa.ForeignKey("customer_order.id"), primary_key=True)
    sku: Mapped[str] = mapped_column(sa.ForeignKey("product.sku"), primary_key=True)
    position: Mapped[int]
    name: Mapped[str]
    unit_price_cents: Mapped[int] = mapped_column(sa.BigInteger)
    quantity: Mapped[int]


class TimelineEntry(Base):
    """Something that happened to an order: the status after it, who did it, why, and the amount of a refund."""

    __tablename__ = "order_timeline"

    order_id: Mapped[UUID] = mapped_column(sa.ForeignKey("customer_order.id"), primary_key=True)
    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
    status: Mapped[OrderStatus]
    actor: Mapped[ActorKind] = mapped_column(Text16)
    actor_id: Mapped[UUID | None]
    reason: Mapped[str | None]
    amount_cents: Mapped[int | None] = mapped_column(sa.BigInteger)


@dataclass(frozen=True)
class Actor:
    """Who asks for a change of an order."""

    user_id: UUID
    is_staff: bool

    def may_see(self, order: Order) -> bool:
        return self.is_staff or order.user_id == self.user_id

    def role_in(self, order: Order) -> Literal["customer", "support"]:
        """Staff are customers where the order is their own."""
        return "customer" if order.user_id == self.user_id else "support"


def require_version(row: Product | Order, expected: int | None) -> None:
    """Refuse a change of what has changed since it was read; None expects nothing. Raises: PreconditionFailed."""
    if expected is not None and row.version != expected:
        raise PreconditionFailed
