"""The data of one user that a service sends for an export, and the form of their sections.

An export is one JSON document with a member for each service. A service sends its data in parts, so that no event is
too large, and all parts of one attempt have the same `attempt_id`.
"""

from datetime import datetime
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from shared.events.contract import Event
from shared.personal_data import PersonalData


class ExportedData(PersonalData):
    """A part of the data that a service has of a user: members of the service's object in the document.

    A list may be spread over several parts, which have its items in their order. Every part comes after those with
    earlier members.
    """

    facts: dict[str, JsonValue]
    """Members with one value."""
    lists: dict[str, list[JsonValue]]
    """Members that are lists, or the next items of them."""


class DataExportedEvent(Event):
    """A part of what a service has of a user who has requested an export of their data."""

    key_field: ClassVar[str] = "user_id"

    user_id: UUID
    """The id of the user."""
    request_id: UUID
    """The id of the export, as in `user.export_requested`."""
    attempt_id: UUID
    """The id of the attempt. A repeated request causes another one; parts of different attempts do not fit together."""
    part: int
    """The number of the part, from 1."""
    parts: int
    """The number of the attempt's parts."""
    personal: str
    """The data: an `ExportedData`, sealed with the user's personal key."""


class ExportedModel(BaseModel):
    """An object in an export, made of any object that has its attributes, such as a row."""

    model_config = ConfigDict(frozen=True, from_attributes=True, extra="forbid")


class ExportedCustomer(ExportedModel):
    """The user's address data, as the orders service has them for support."""

    email: Annotated[str, Field(examples=["ada@orderly.example"])]
    name: Annotated[str, Field(examples=["Ada Lovelace"])]


class ExportedOrder(ExportedModel):
    """An order of the user. Its items and its timeline are in lists of their own, by `order_id`."""

    id: UUID
    number: Annotated[str, Field(examples=["O-2K7WQ9X3"])]
    status: Annotated[str, Field(examples=["delivered"])]
    currency: Annotated[str, Field(examples=["GBP"])]
    total_cents: Annotated[int, Field(examples=[1530])]
    refunded_cents: Annotated[int, Field(examples=[0])]
    deadline: datetime
    created_at: datetime
    updated_at: datetime


class ExportedOrderItem(ExportedModel):
    """One product of an order, at the price when the order was placed."""

    order_id: UUID
    position: Annotated[int, Field(examples=[1])]
    sku: Annotated[str, Field(examples=["85123A"])]
    name: Annotated[str, Field(examples=["WHITE HANGING HEART T-LIGHT HOLDER"])]
    quantity: Annotated[int, Field(examples=[6])]
    unit_price_cents: Annotated[int, Field(examples=[255])]


class ExportedTimelineEntry(ExportedModel):
    """One event in an order's life."""

    order_id: UUID
    at: datetime
    status: Annotated[str, Field(description="The order's status after the event.", examples=["confirmed"])]
    actor: Annotated[str, Field(description="`customer`, `support` or `system`.", examples=["system"])]
    reason: Annotated[str | None, Field(examples=["deadline"])]
    amount_cents: Annotated[int | None, Field(description="The amount, if it is a refund.", examples=[None])]


class ExportedRecipient(ExportedModel):
    """The user's address data, as the notifications service has them."""

    email: Annotated[str, Field(examples=["ada@orderly.example"])]
    name: Annotated[str, Field(examples=["Ada Lovelace"])]
    locale: Annotated[str, Field(examples=["en-GB"])]
    time_zone: Annotated[str, Field(examples=["Europe/London"])]
    email_verified: bool
    updated_at: datetime


class ExportedDelivery(ExportedModel):
    """The delivery of a notification on one channel."""

    channel: Annotated[str, Field(examples=["email"])]
    status: Annotated[str, Field(examples=["sent"])]
    attempts: Annotated[int, Field(examples=[1])]
    last_error: Annotated[str | None, Field(examples=[None])]
    sent_at: datetime | None


class ExportedNotification(ExportedModel):
    """A notification of the user: its title, and the data of which its texts are made."""

    id: UUID
    category: Annotated[str, Field(examples=["orders"])]
    event_type: Annotated[str, Field(examples=["order.confirmed"])]
    title: Annotated[str, Field(examples=["Order O-2K7WQ9X3 is confirmed"])]
    data: Annotated[dict[str, JsonValue], Field(examples=[{"number": "O-2K7WQ9X3", "total_cents": 4990}])]
    created_at: datetime
    read_at: datetime | None
    deliveries: list[ExportedDelivery]


class OrdersExport(ExportedModel):
    """The data that the orders service has of the user."""

    customer: Annotated[ExportedCustomer | None, Field(description="Null if the service does not know the user.")]
    orders: list[ExportedOrder]
    order_items: list[ExportedOrderItem]
    order_timeline: list[ExportedTimelineEntry]


class NotificationsExport(ExportedModel):
    """The data that the notifications service has of the user."""

    recipient: Annotated[ExportedRecipient | None, Field(description="Null if the service does not know the user.")]
    notifications: list[ExportedNotification]
