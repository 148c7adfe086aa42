"""The mails of a run: those that the notifications service recorded as sent, and those that the mail catcher has."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import httpx2

from deploy.audit.databases import Connection
from deploy.demo.target import ReceivedMail
from deploy.demo.timelines import Timeline

_SENT = """
    SELECT d.provider_message_id, n.event_type, n.data->>'order_id'
    FROM delivery d JOIN notification n ON n.id = d.notification_id
    WHERE d.channel = 'email' AND d.status = 'sent' AND n.user_id = ANY($1::uuid[])
"""


@dataclass(frozen=True)
class SentMail:
    """A mail that the notifications service recorded as sent."""

    event_type: str
    order_id: str | None


@dataclass
class Mails:
    """Mails by their Message-ID."""

    sent: dict[str, SentMail] = field(default_factory=dict)
    received_at: dict[str, datetime] = field(default_factory=dict)
    """The time at which the mail catcher first received the mail."""
    repeats: int = 0
    """The number of mails that it received again, with the same Message-ID."""

    def by_event_type(self) -> Counter[str]:
        """Count the received mails by the type of the event that they report."""
        return Counter(self.sent[message].event_type for message in self.received_at if message in self.sent)

    def received_for(self, event_type: str) -> dict[str, list[datetime]]:
        """Return by order when its mails about events of a type were received."""
        found: dict[str, list[datetime]] = {}
        for message, at in self.received_at.items():
            mail = self.sent.get(message)
            if mail is not None and mail.event_type == event_type and mail.order_id is not None:
                found.setdefault(mail.order_id, []).append(at)
        return found


async def mails_of(received: Sequence[ReceivedMail], notifications: Connection, *, user_ids: Sequence[str]) -> Mails:
    """Compare with the notifications database: collect what a run's users were sent, and what was received."""
    mails = Mails()
    for message_id, event_type, order_id in await notifications.fetch(_SENT, user_ids):
        mails.sent[message_id] = SentMail(event_type, order_id)
    for mail in received:
        if mails.received_at.setdefault(mail.message_id, mail.received_at) is not mail.received_at:
            mails.repeats += 1
    return mails


async def mails_of_catcher(mail_url: str, *, run: str) -> Sequence[ReceivedMail]:
    """Return the mails to the addresses of one run from the mail catcher of `make run`, the oldest first."""
    async with httpx2.AsyncClient(base_url=mail_url, timeout=30) as http:
        response = await http.get("/api/messages", params={"to": f"+{run}@", "limit": "1000000"})
    messages = response.raise_for_status().json()["messages"]
    return [
        ReceivedMail(message["message_id"], datetime.fromisoformat(message["received_at"]))
        for message in reversed(messages)
    ]


def mail_violations(mails: Mails, timelines: Sequence[Timeline]) -> list[str]:
    """Return a sentence for each order with a wrong number of confirmation mails, and for each unmatched mail.

    The database says what was sent, the mail catcher what was received. A mail that was received twice with the same
    Message-ID counts once.
    """
    received = mails.received_for("order.confirmed")
    confirmed = {timeline.order.id for timeline in timelines if timeline.entry("confirmed")}
    return [
        *(
            f"order {order}: {len(received.get(order, []))} confirmation mails, expected {int(order in confirmed)}"
            for order in sorted(confirmed | received.keys())
            if len(received.get(order, [])) != (order in confirmed)
        ),
        *(
            f"mail {message} was recorded as sent but not received"
            for message in sorted(mails.sent.keys() - mails.received_at.keys())
        ),
        *(
            f"mail {message} was received but not recorded as sent"
            for message in sorted(mails.received_at.keys() - mails.sent.keys())
        ),
    ]
