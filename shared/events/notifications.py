"""Events of the notifications service: the outcome of deliveries (key: notification id), exports (key: user id)."""

from typing import ClassVar
from uuid import UUID

from shared.events.contract import Event
from shared.events.exported_data import DataExportedEvent


class NotificationEvent(Event):
    """An event about one notification on one channel."""

    topic: ClassVar[str] = "notifications"
    key_field: ClassVar[str] = "notification_id"

    notification_id: UUID
    """The id of the notification."""
    user_id: UUID
    """The id of the user who is notified."""
    category: str
    """The subject of the notification: `account` or `orders`."""
    channel: str
    """The channel of the delivery, such as `email`."""
    source_event_id: UUID
    """The `ce_id` of the event that caused the notification."""


class NotificationSent(NotificationEvent):
    """The notification was sent: the provider of the channel accepted it, or it was stored for the app."""

    type: ClassVar[str] = "notification.sent"


class NotificationFailed(NotificationEvent):
    """The notification was given up: retries failed for a day, or the provider rejected it. A resend may follow."""

    type: ClassVar[str] = "notification.failed"

    reason: str
    """A code for why the last attempt failed, such as `recipient_refused`."""


class RecipientExported(DataExportedEvent):
    """A part of the data that the notifications service has of a user. Its key is the user's id."""

    topic: ClassVar[str] = "notifications"
    type: ClassVar[str] = "notification.recipient_exported"


class RecipientErased(Event):
    """The notifications service has erased a user's personal data, and all notifications of the user."""

    type: ClassVar[str] = "notification.recipient_erased"
    topic: ClassVar[str] = "notifications"
    key_field: ClassVar[str] = "user_id"

    user_id: UUID
    """The id of the user."""
    request_id: UUID
    """The id of the request, as `user.erasure_requested` has it."""
