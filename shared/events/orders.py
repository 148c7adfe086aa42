"""Events of the orders service: orders (key: order id) and the catalogue (key: sku)."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from shared.events.contract import Event


class OrderLine(BaseModel):
    """One position of an order, at the price of the day it was placed."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True)

    sku: str
    name: str
    quantity: int
    unit_price_cents: int


class OrderEvent(Event):
    """Anything that happened to one order."""

    topic: ClassVar[str] = "orders"
    key_field: ClassVar[str] = "order_id"

    order_id: UUID
    number: str
    """The order's number for people."""
    user_id: UUID
    total_cents: int
    currency: str


class OrderCreated(OrderEvent):
    """An order was placed; its stock is reserved, its credit is not yet."""

    type: ClassVar[str] = "order.created"

    deadline: datetime
    """An order that is not confirmed by then is cancelled."""


class OrderConfirmed(OrderEvent):
    """Stock and credit are reserved: the order stands."""

    type: ClassVar[str] = "order.confirmed"

    lines: tuple[OrderLine, ...]


class OrderRejected(OrderEvent):
    """The order can't be paid; its stock is free again."""

    type: ClassVar[str] = "order.rejected"

    reason: str
    """A code; mostly that of the refused credit."""


CancelReason = Literal["customer", "support", "deadline"]


class OrderCancelled(OrderEvent):
    """The order was called off; whoever set something aside for it gives that back."""

    type: ClassVar[str] = "order.cancelled"

    reason: CancelReason


class OrderShipped(OrderEvent):
    """The goods left; the reserved credit is used now."""

    type: ClassVar[str] = "order.shipped"


class OrderDelivered(OrderEvent):
    """The goods arrived."""

    type: ClassVar[str] = "order.delivered"


class OrderRefunded(OrderEvent):
    """Money goes back: `amount_cents` with this event, `refunded_cents` in all so far."""

    type: ClassVar[str] = "order.refunded"

    amount_cents: int
    """What goes back now."""
    refunded_cents: int
    """What went back in all, this time included."""


OrderState = Literal["pending", "confirmed", "rejected", "cancelled", "shipped", "delivered", "refunded"]


class OrderSnapshot(OrderEvent):
    """The order as it is now; nothing has happened to it. A reader replaces what it kept."""

    type: ClassVar[str] = "order.snapshot"

    status: OrderState
    placed_at: datetime
    deadline: datetime
    """An order that is still pending then is cancelled."""
    refunded_cents: int
    """What went back in all."""
    lines: tuple[OrderLine, ...]


class ProductEvent(Event):
    """Anything that happened to one product of the catalogue."""

    topic: ClassVar[str] = "products"
    key_field: ClassVar[str] = "sku"

    sku: str


class ProductCreated(ProductEvent):
    """A product joined the catalogue."""

    type: ClassVar[str] = "product.created"

    name: str
    price_cents: int
    currency: str
    active: bool
    """Whether it can be ordered."""


class ProductUpdated(ProductEvent):
    """The product as it is now."""

    type: ClassVar[str] = "product.updated"

    name: str
    price_cents: int
    currency: str
    active: bool
    """Whether it can be ordered."""
