"""Request and response bodies of the orders service."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, field_validator
from pydantic.json_schema import SkipJsonSchema

from services.orders.models import ActorKind, OrderStatus
from services.orders.order_number import ALPHABET, DIGITS
from shared.amounts import MAX_AMOUNT_CENTS
from shared.errors import Problem
from shared.http.bodies import RequestBody, ResponseBody
from shared.text import NAME_PATTERN, TEXT_PATTERN, check_name, check_text

MAX_STOCK = 10**9
MAX_QUANTITY = 100_000
MAX_ITEMS = 1_000
"""Items of an order. An `order.confirmed` with more items of the longest names would not fit into the outbox."""

SKU_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$"

Sku = Annotated[str, Field(pattern=SKU_PATTERN, examples=["85123A"])]
# An order.confirmed with MAX_ITEMS items must fit into the outbox. Longer names, or ones that JSON escapes, would not.
# Mails show it: no link, and no text in another order than it has.
Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        description="One line without links, control or format characters.",
        examples=["WHITE HANGING HEART T-LIGHT HOLDER"],
        json_schema_extra={"pattern": NAME_PATTERN},
    ),
    AfterValidator(check_name),
]
Description = Annotated[
    str,
    Field(max_length=5_000, examples=["Glass, 10 cm, with a wire."], json_schema_extra={"pattern": TEXT_PATTERN}),
    AfterValidator(check_text),
]
Reason = Annotated[
    str,
    Field(max_length=500, examples=["Arrived broken."], json_schema_extra={"pattern": TEXT_PATTERN}),
    AfterValidator(check_text),
]
PriceCents = Annotated[int, Field(ge=1, le=MAX_AMOUNT_CENTS, examples=[255])]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code.", examples=["GBP"])]
Stock = Annotated[int, Field(ge=0, le=MAX_STOCK, examples=[120])]


OrderNumber = Annotated[
    str,
    Field(
        pattern=rf"^[Oo]-[{ALPHABET}{ALPHABET.lower()}]{{{DIGITS + 1}}}$",
        examples=["O-2K7WQ9X3"],
        description="The last character is a check character.",
    ),
    AfterValidator(str.upper),
]


class OrderNumberMistyped(Problem):
    """The order number does not exist; check it for typing errors."""

    status = 422
    code = "order_number_mistyped"


class NewProduct(RequestBody):
    """A new product."""

    sku: Sku
    name: Name
    description: Description = ""
    price_cents: PriceCents
    currency: Currency
    stock: Stock


class ProductChanges(RequestBody):
    """Changes of a product. A member that is left out keeps its value."""

    name: Name | SkipJsonSchema[None] = None
    description: Description | SkipJsonSchema[None] = None
    price_cents: PriceCents | SkipJsonSchema[None] = None
    stock: Stock | SkipJsonSchema[None] = None
    active: bool | SkipJsonSchema[None] = Field(default=None, examples=[True])

    @field_validator("*", mode="before")
    @classmethod
    def _no_null(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("null is not allowed; leave the member out")
        return value


class NewOrderLine(RequestBody):
    """A product and its quantity."""

    sku: Sku
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY, examples=[6])]


class NewOrder(RequestBody):
    """A new order."""

    items: Annotated[
        list[NewOrderLine],
        Field(min_length=1, max_length=MAX_ITEMS, description="Quantities of the same SKU are added up."),
    ]


class NewRefund(RequestBody):
    """A refund of an order."""

    amount_cents: Annotated[int, Field(ge=1, le=MAX_AMOUNT_CENTS, examples=[255])]
    reason: Annotated[Reason | None, Field(examples=["Arrived broken."])] = None


class ProductView(ResponseBody):
    """A product and its stock."""

    sku: Sku
    name: str = Field(examples=["WHITE HANGING HEART T-LIGHT HOLDER"])
    description: str = Field(examples=["Glass, 10 cm, with a wire."])
    price_cents: PriceCents
    currency: Currency
    active: bool = Field(description="Whether it can be ordered.")
    stock: Stock
    available: int = Field(
        description="Stock that no open order has reserved, possibly from a cache. It is not part of the version.",
        examples=[112],
    )


CACHED_PRODUCT_VERSION = 1
"""Raise it with every change of the form or the meaning of CachedProduct: processes of two releases share Valkey."""


class CachedProduct(ProductView):
    """A product as the cache stores it: with the version, which is sent as the ETag."""

    version: int


class CustomerView(ResponseBody):
    """The customer of an order."""

    name: str = Field(examples=["Ada Lovelace"])
    email: str = Field(examples=["ada@example.com"])


class OrderSummaryView(ResponseBody):
    """An order in a list."""

    id: UUID
    number: str = Field(examples=["O-2K7WQ9X3"])
    user_id: UUID
    customer: CustomerView | None = Field(
        default=None, description="Null for customers, and until the account's data have arrived."
    )
    status: OrderStatus
    currency: Currency
    total_cents: int = Field(examples=[1530])
    refunded_cents: int = Field(examples=[0])
    deadline: datetime = Field(description="An order that is still pending then is cancelled.")
    created_at: datetime
    updated_at: datetime


class OrderItemView(ResponseBody):
    """One product of an order."""

    sku: Sku
    name: str = Field(examples=["WHITE HANGING HEART T-LIGHT HOLDER"])
    quantity: int = Field(examples=[6])
    unit_price_cents: PriceCents = Field(description="The price when the order was placed.")


class TimelineEntryView(ResponseBody):
    """One event in an order's life."""

    at: datetime
    status: OrderStatus = Field(description="The order's status after the event.")
    actor: ActorKind
    actor_id: UUID | None = Field(description="The user who did it; null for the system.")
    reason: str | None = Field(examples=["deadline"])
    amount_cents: int | None = Field(description="The refunded amount, if it is a refund.", examples=[None])


class OrderView(OrderSummaryView):
    """An order with its items and its timeline."""

    items: list[OrderItemView]
    timeline: list[TimelineEntryView] = Field(description="Events of the order, oldest first.")
