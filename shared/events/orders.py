"""Events of the orders service: orders (key: order id), exports (key: user id) and products (key: SKU)."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from shared.events.contract import Event
from shared.events.exported_data import DataExportedEvent


class OrderLine(BaseModel):
    """One line of an order, at the price when the order was placed."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True)

    sku: str
    """The SKU of the product."""
    name: str
    """The name of the product when the order was placed."""
    quantity: int
    """The number of units."""
    unit_price_cents: int
    """The price of one unit, in the currency's smallest unit."""


class OrderEvent(Event):
    """An event about one order."""

    topic: ClassVar[str] = "orders"
    key_field: ClassVar[str] = "order_id"

    order_id: UUID
    """The id of the order."""
    number: str
    """The order number that the customer sees."""
    user_id: UUID
    """The id of the user who placed the order."""
    total_cents: int
    """The total, in the currency's smallest unit."""
    currency: str
    """The currency, as an ISO 4217 code."""


class OrderCreated(OrderEvent):
    """An order was placed. Its stock is reserved; its credit is not reserved yet."""

    type: ClassVar[str] = "order.created"

    deadline: datetime
    """The order is cancelled if it is still pending at this time."""


class OrderConfirmed(OrderEvent):
    """The order was confirmed: its stock and its credit are reserved."""

    type: ClassVar[str] = "order.confirmed"

    lines: tuple[OrderLine, ...]
    """The lines of the order."""


class OrderRejected(OrderEvent):
    """The order was rejected because no credit was reserved for it. Its stock is available again."""

    type: ClassVar[str] = "order.rejected"

    reason: str
    """A code for why, such as the reason of `user.credit_refused`."""


CancelReason = Literal["customer", "support", "deadline", "erasure"]


class OrderCancelled(OrderEvent):
    """The order was cancelled. Stock and credit that are reserved for it become available again."""

    type: ClassVar[str] = "order.cancelled"

    reason: CancelReason
    """The role of who cancelled the order, `deadline` if it was not confirmed in time, or `erasure` if the customer's
    account is being erased."""


class OrderShipped(OrderEvent):
    """The order was shipped. The credit that is reserved for it is now used."""

    type: ClassVar[str] = "order.shipped"


class OrderDelivered(OrderEvent):
    """The order was delivered."""

    type: ClassVar[str] = "order.delivered"


class OrderRefunded(OrderEvent):
    """The order was refunded, in part or in full."""

    type: ClassVar[str] = "order.refunded"

    amount_cents: int
    """The amount of this refund, in the currency's smallest unit."""
    refunded_cents: int
    """The sum of all refunds so far, including this one."""


OrderStatus = Literal["pending", "confirmed", "rejected", "cancelled", "shipped", "delivered", "refunded"]


class OrderSnapshot(OrderEvent):
    """The current state of an order, sent again without a change. Replace what you have stored."""

    type: ClassVar[str] = "order.snapshot"

    status: OrderStatus
    """The status of the order."""
    placed_at: datetime
    """The time at which the order was placed."""
    deadline: datetime
    """The order is cancelled if it is still pending at this time."""
    refunded_cents: int
    """The sum of all refunds so far."""
    lines: tuple[OrderLine, ...]
    """The lines of the order."""


class CustomerErased(Event):
    """The orders service has erased a user's personal data. Orders stay, with the id of the user."""

    type: ClassVar[str] = "order.customer_erased"
    topic: ClassVar[str] = "orders"
    key_field: ClassVar[str] = "user_id"

    user_id: UUID
    """The id of the user."""
    request_id: UUID
    """The id of the request, as `user.erasure_requested` has it."""


class ProductEvent(Event):
    """An event about one product."""

    topic: ClassVar[str] = "products"
    key_field: ClassVar[str] = "sku"

    sku: str
    """The SKU of the product."""


class ProductCreated(ProductEvent):
    """A product was added to the catalogue."""

    type: ClassVar[str] = "product.created"

    name: str
    """The name of the product."""
    price_cents: int
    """The price of one unit, in the currency's smallest unit."""
    currency: str
    """The currency, as an ISO 4217 code."""
    active: bool
    """Whether the product can be ordered."""


class ProductUpdated(ProductEvent):
    """A product changed, or its state is sent again. Replace what you have stored."""

    type: ClassVar[str] = "product.updated"

    name: str
    """The name of the product."""
    price_cents: int
    """The price of one unit, in the currency's smallest unit."""
    currency: str
    """The currency, as an ISO 4217 code."""
    active: bool
    """Whether the product can be ordered."""


class CustomerExported(DataExportedEvent):
    """A part of the data that the orders service has of a user. Its key is the user's id."""

    topic: ClassVar[str] = "orders"
    type: ClassVar[str] = "order.customer_exported"
