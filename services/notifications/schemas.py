"""Response bodies of the notifications service."""

from datetime import datetime
from uuid import UUID

from pydantic import Field, JsonValue

from services.notifications.models import Channel, DeliveryStatus
from shared.http.bodies import ResponseBody

MAX_UNREAD_COUNT = 1000
"""Unread notifications that are counted. Counting more takes longer and would not show in a badge."""


class NotificationSummaryView(ResponseBody):
    """A notification of a user."""

    id: UUID = Field(examples=["0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"])
    category: str = Field(description="Subject of the event.", examples=["orders"])
    event_type: str = Field(description="Type of the event.", examples=["order.confirmed"])
    title: str = Field(description="One line in the user's language.", examples=["Order O-2K7WQ9XA is confirmed"])
    data: dict[str, JsonValue] = Field(
        description="Data of the event.",
        examples=[{"number": "O-2K7WQ9XA", "total_cents": 4990, "currency": "GBP"}],
    )
    created_at: datetime
    read_at: datetime | None = Field(description="Null until the user has read it.")


class DeliveryView(ResponseBody):
    """The delivery of a notification on one channel."""

    channel: Channel
    status: DeliveryStatus = Field(
        description="`deferred` waits for the user's address; `failed` will not be tried again."
    )
    attempts: int = Field(examples=[1])
    next_attempt_at: datetime | None
    last_error: str | None = Field(
        description="Code that says why the last attempt failed.", examples=["recipient_refused"]
    )
    provider: str | None = Field(examples=["smtp"])
    provider_message_id: str | None = Field(examples=["<0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11@orderly.example>"])
    sent_at: datetime | None


class NotificationView(NotificationSummaryView):
    """A notification of a user, with its deliveries."""

    deliveries: list[DeliveryView]


class UnreadCountView(ResponseBody):
    """The number of unread notifications."""

    unread: int = Field(ge=0, le=MAX_UNREAD_COUNT, description="1000 means 1000 or more.", examples=[3])
