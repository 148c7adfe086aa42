"""Response bodies."""

from datetime import datetime
from uuid import UUID

from pydantic import Field, JsonValue

from services.notifications.models import Channel, DeliveryStatus
from shared.http.bodies import ResponseBody


class NotificationSummaryView(ResponseBody):
    """What a user was told."""

    id: UUID = Field(examples=["0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"])
    category: str = Field(description="What it is about.", examples=["orders"])
    event_type: str = Field(description="The event behind it.", examples=["order.confirmed"])
    title: str = Field(description="One line in the user's language.", examples=["Order O-1042 is confirmed"])
    data: dict[str, JsonValue] = Field(
        description="The event's data, as far as they are shown.",
        examples=[{"number": "O-1042", "total_cents": 4990, "currency": "GBP"}],
    )
    created_at: datetime
    read_at: datetime | None = Field(description="Null until the user has read it.")


class DeliveryView(ResponseBody):
    """How a notification fares on one channel."""

    channel: Channel
    status: DeliveryStatus = Field(
        description="`deferred` waits for the user's address; `failed` will not be tried again."
    )
    attempts: int = Field(examples=[1])
    next_attempt_at: datetime | None
    last_error: str | None = Field(description="Why the last try failed, as a code.", examples=["recipient_refused"])
    provider: str | None = Field(examples=["smtp"])
    provider_message_id: str | None = Field(examples=["250 2.0.0 OK queued as 4F1B2C"])
    sent_at: datetime | None


class NotificationView(NotificationSummaryView):
    """What a user was told, and how."""

    deliveries: list[DeliveryView]


class UnreadCountView(ResponseBody):
    """How many notifications wait to be read."""

    unread: int = Field(ge=0, le=1000, description="1000 stands for that many or more.", examples=[3])
