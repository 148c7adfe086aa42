"""Events of the notifications service: what became of a message. Key: notification id."""

from typing import ClassVar
from uuid import UUID

from shared.events.contract import Event


class NotificationEvent(Event):
    """Anything that happened to one notification on one channel."""

    topic: ClassVar[str] = "notifications"
    key_field: ClassVar[str] = "notification_id"

    notification_id: UUID
    user_id: UUID
    category: str
    """What the message was about, as people choose it in their preferences."""
    channel: str
    source_event_id: UUID
    """The `ce_id` of the event that the message told of."""


class NotificationSent(NotificationEvent):
    """The channel's provider took the message."""

    type: ClassVar[str] = "notification.sent"


class NotificationFailed(NotificationEvent):
    """Every try was used up, or the provider refused for good."""

    type: ClassVar[str] = "notification.failed"

    reason: str
    """A code: why the last try failed."""
