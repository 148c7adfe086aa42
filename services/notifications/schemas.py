"""Response bodies of the notifications service."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field, JsonValue, computed_field

from services.notifications.statuses import Channel, DeliveryStatus
from shared.http.bodies import RequestBody, ResponseBody
from shared.operations.advice import MAIL, Advice

MAX_UNREAD_COUNT = 1000
"""Unread notifications that are counted. Counting more takes longer and would not show in a badge."""


class NotificationSummaryView(ResponseBody):
    """A notification of a user."""

    id: UUID = Field(examples=["0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"])
    category: str = Field(description="Subject of the event.", examples=["orders"])
    event_type: str = Field(description="Type of the event.", examples=["order.confirmed"])
    title: str = Field(description="One line in the user's language.", examples=["Order O-2K7WQ9X3 is confirmed"])
    data: dict[str, JsonValue] = Field(
        description="Data of the event.",
        examples=[{"number": "O-2K7WQ9X3", "total_cents": 4990, "currency": "GBP"}],
    )
    created_at: datetime
    read_at: datetime | None = Field(description="Null until the user has read it.")


class DeliveryView(ResponseBody):
    """The delivery of a notification on one channel."""

    channel: Channel
    status: DeliveryStatus = Field(
        description="`deferred` waits for the user's verified address; `failed` will not be tried again."
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


Text = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
_ID = "0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11"


class DeliverySummaryView(ResponseBody):
    """A delivery, for operators."""

    id: UUID = Field(examples=[_ID])
    notification_id: UUID
    user_id: UUID
    event_type: str = Field(description="Type of the event.", examples=["order.confirmed"])
    channel: Channel
    status: DeliveryStatus
    attempts: int = Field(examples=[28])
    last_error: str | None = Field(
        description="Code that says why the last attempt failed.", examples=["recipient_refused"]
    )
    first_due_at: datetime | None = Field(
        description="Time at which the first attempt was due, or the delivery was resent: retries end some time later."
    )
    next_attempt_at: datetime | None
    sent_at: datetime | None
    created_at: datetime

    # mypy knows no decorated properties.
    @computed_field(description="The action that helps; null if none is needed.")  # type: ignore[prop-decorator]
    @property
    def advice(self) -> Advice | None:
        """The action that helps if it was not sent."""
        if self.status not in {"failed", "retrying"}:
            return None
        return Advice(
            text="Correct what the error names (the mail server, or the user's address), then resend it.",
            command=f'python -m services.notifications deliveries resend --id {self.id} --note "..."',
            route="POST /v1/operations/notifications/deliveries/resends",
            runbook=MAIL,
        )

    @classmethod
    def of_columns(cls, *columns: Any) -> "DeliverySummaryView":
        """Make a view of the columns that `deliveries_oldest_first` selects."""
        return cls(**dict(zip(cls.model_fields, columns, strict=True)))


class DeliveryActionView(ResponseBody):
    """An operator's action on a delivery."""

    actor: str = Field(description="A user's id, or the operator who ran the command.", examples=["ada@ops-1"])
    action: Literal["resend"]
    note: str = Field(examples=["the mail server was away for two days"])
    status_before: DeliveryStatus
    error_before: str | None = Field(examples=["unreachable"])
    acted_at: datetime


class DeliveryDetailView(DeliverySummaryView):
    """A delivery with its notification's data, its recipient's address, and all actions taken on it."""

    title: str = Field(examples=["Order O-2K7WQ9X3 is confirmed"])
    data: dict[str, JsonValue] = Field(description="Data of the event.", examples=[{"number": "O-2K7WQ9X3"}])
    email: str | None = Field(
        description="The recipient's present address; null if it is unknown, or the mail was sealed.",
        examples=["ada@example.org"],
    )
    provider: str | None = Field(examples=["smtp"])
    provider_message_id: str | None = Field(examples=[f"<{_ID}@orderly.example>"])
    actions: list[DeliveryActionView]


class ResendDeliveriesRequest(RequestBody):
    """A selection of deliveries to resend: either those with the given `ids`, or those of a status and a filter."""

    note: Annotated[Text, Field(min_length=1, description="Reason, for the record.", examples=["the server is back"])]
    ids: list[UUID] = Field(default=[], max_length=1000, examples=[[_ID]])
    status: Literal["failed", "retrying"] | None = Field(
        None, description="Status of the deliveries to select; required without `ids`."
    )
    channel: Channel | None = None
    user_id: UUID | None = None
    error: Text | None = Field(None, description="Code of the last error.", examples=["unreachable"])
    created_before: AwareDatetime | None = Field(
        None, description="Only notifications created before this time.", examples=["2026-11-23T10:00:00Z"]
    )
    limit: int = Field(100, ge=1, le=1000, description="At most this many, oldest first, if a filter selects them.")
    force: bool = Field(
        False, description="Also resend those of `ids` that were sent. Their recipients get the message twice."
    )
    dry_run: bool = Field(False, description="Only return how many deliveries would be resent.")


class ResentDeliveriesView(ResponseBody):
    """The number of deliveries that were resent, or would be."""

    dry_run: bool
    deliveries: int = Field(examples=[17])
