"""What a channel is: a function that sends one message, or says why not."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from pydantic import JsonValue

from services.notifications.models import Channel


@dataclass(frozen=True)
class Outgoing:
    """One try of one delivery: everything a channel needs to know."""

    delivery_id: UUID
    attempt: int
    notification_id: UUID
    user_id: UUID
    event_id: UUID
    event_type: str
    category: str
    data: Mapping[str, JsonValue]
    email: str
    name: str
    locale: str


@dataclass(frozen=True)
class Receipt:
    """The provider took the message."""

    provider: str
    provider_message_id: str


class Undelivered(Exception):
    """The provider did not take the message. `code` is public and stable; `is_final`: another try is no use."""

    def __init__(self, code: str, *, is_final: bool = False) -> None:
        super().__init__(code)
        self.code = code
        self.is_final = is_final


Send = Callable[[Outgoing], Awaitable[Receipt]]
"""Raises: Undelivered. It may be called again for a delivery whose outcome was not written down."""

Channels = Mapping[Channel, Send]
"""The channels that send by a job. In-app is none of them: being stored is its delivery."""
