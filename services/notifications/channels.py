"""The types of a channel: a function that sends one attempt of a delivery. `mail.py` has the one of e-mail."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from pydantic import JsonValue

from services.notifications.statuses import Channel

MAX_CONCURRENT_SENDS = 8
"""Deliveries that a process sends at once, and connections to the mail server that it keeps: none waits for another."""
MAX_CONCURRENT_RETRIES = MAX_CONCURRENT_SENDS // 2
"""Retries among them. The others are kept for first attempts, so that a heap of retries or a server that hangs for some
recipients does not hold up new mails, and a server that returns is not flooded."""


@dataclass(frozen=True)
class Attempt:
    """One attempt of one delivery, with everything that a channel needs to know."""

    delivery_id: UUID
    channel: Channel
    number: int
    tries: int
    """Attempts up to this one since the delivery was due first, or was resent."""
    deadline: float
    """Time of the monotonic clock at which the attempt is cancelled: its lease ends shortly after."""
    traceparent: str | None
    notification_id: UUID
    user_id: UUID
    event_id: UUID
    event_type: str
    category: str
    data: Mapping[str, JsonValue]
    email: str
    """Empty if the mail is sealed, and the recipient is unknown."""
    name: str
    locale: str
    sealed: str | None = field(default=None, repr=False)
    """A sealed `AccountMail`: the address to use instead, and the mail's one-time token."""
    expires_at: datetime | None = None
    """The time from which on a sealed mail is not sent any more."""


@dataclass(frozen=True)
class Receipt:
    """The provider's acceptance of a message."""

    provider: str
    provider_message_id: str


class SendFailed(Exception):
    """The provider did not accept the message. `code` is public and stable; if `is_final`, a retry is useless.

    `reply_code` is the number of the mail server's reply, if it replied. Its text is not kept: it may hold addresses.
    """

    def __init__(self, code: str, *, is_final: bool = False, reply_code: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.is_final = is_final
        self.reply_code = reply_code


Send = Callable[[Attempt], Awaitable[Receipt]]
"""Sends a message. Called again for the same delivery if the outcome was not recorded. Raises: SendFailed."""

Channels = Mapping[Channel, Send]
"""The channels with attempts. In-app is not among them: a notification counts as delivered once it is stored."""
