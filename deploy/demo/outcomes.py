"""What became of the orders, as their customers see it, and of the mails, as the catcher has them."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx2

from deploy.demo.agreement import Connection
from deploy.demo.client import Client, Unanswered
from deploy.demo.ledger import PlacedOrder

_SENT = """
    SELECT d.provider_message_id, n.event_type, n.data->>'order_id'
    FROM delivery d JOIN notification n ON n.id = d.notification_id
    WHERE d.channel = 'email' AND d.status = 'sent' AND n.user_id = ANY($1::uuid[])
"""


@dataclass(frozen=True)
class Entry:
    """Something that happened to an order; `is_refund` of one that left its status as it was, too."""

    status: str
    at: datetime
    reason: str | None
    is_refund: bool


@dataclass(frozen=True)
class Outcome:
    """An order and its timeline."""

    order: PlacedOrder
    entries: tuple[Entry, ...]

    def entry(self, status: str) -> Entry | None:
        """When it came to have this status."""
        return next((entry for entry in self.entries if entry.status == status), None)


@dataclass(frozen=True)
class SentMail:
    """A mail that the notifications service says it sent."""

    event_type: str
    order_id: str | None


@dataclass
class Mails:
    """By Message-ID: what was said to be sent, and when the catcher had it, the first time of several."""

    sent: dict[str, SentMail] = field(default_factory=dict)
    received_at: dict[str, datetime] = field(default_factory=dict)
    repeats: int = 0

    def kinds(self) -> Counter[str]:
        """Mails received, by the event that they tell of."""
        return Counter(self.sent[message].event_type for message in self.received_at if message in self.sent)

    def received_for(self, event_type: str) -> dict[str, list[datetime]]:
        """When mails of a kind were received, by order."""
        found: dict[str, list[datetime]] = {}
        for message, at in self.received_at.items():
            mail = self.sent.get(message)
            if mail is not None and mail.event_type == event_type and mail.order_id is not None:
                found.setdefault(mail.order_id, []).append(at)
        return found


async def outcomes_of(client: Client, orders: Sequence[PlacedOrder], *, concurrency: int) -> list[Outcome]:
    """Ask for each order as its customer. Raises: Unanswered, when one that was taken is not there."""
    free = asyncio.Semaphore(concurrency)

    async def one(order: PlacedOrder) -> Outcome:
        async with free:
            answer = await order.account.send(client, "GET", f"/v1/orders/{order.id}")
        if not answer.is_success:
            raise Unanswered(f"order {order.id} was taken, but is answered {answer.status} {answer.code}")
        return Outcome(order, tuple(_entry(each) for each in answer.body["timeline"]))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(order)) for order in orders]
    return [task.result() for task in tasks]


async def mails_of(mail_url: str, notifications: Connection, *, run: str, user_ids: Sequence[str]) -> Mails:
    """The run's mails: those noted as sent, and those that arrived."""
    mails = Mails()
    for message_id, event_type, order_id in await notifications.fetch(_SENT, user_ids):
        mails.sent[message_id] = SentMail(event_type, order_id)
    async with httpx2.AsyncClient(base_url=mail_url, timeout=30) as http:
        response = await http.get("/api/messages", params={"to": f"+{run}@", "limit": "1000000"})
    for message in reversed(response.raise_for_status().json()["messages"]):
        received_at = datetime.fromisoformat(message["received_at"])
        if mails.received_at.setdefault(message["message_id"], received_at) is not received_at:
            mails.repeats += 1
    return mails


def mail_violations(mails: Mails, outcomes: Sequence[Outcome]) -> list[str]:
    """One mail in the catcher, by its Message-ID, for each confirmed order; and for each that was noted as sent."""
    received = mails.received_for("order.confirmed")
    confirmed = {outcome.order.id for outcome in outcomes if outcome.entry("confirmed")}
    return [
        *(
            f"order {order}: {len(received.get(order, []))} mails say that it is confirmed"
            for order in sorted(confirmed | received.keys())
            if len(received.get(order, [])) != (order in confirmed)
        ),
        *(
            f"the mail {message} is noted as sent and did not arrive"
            for message in sorted(mails.sent.keys() - mails.received_at.keys())
        ),
        *(
            f"the mail {message} arrived and is not noted as sent"
            for message in sorted(mails.received_at.keys() - mails.sent.keys())
        ),
    ]


def _entry(entry: dict[str, Any]) -> Entry:
    return Entry(
        status=entry["status"],
        at=datetime.fromisoformat(entry["at"]),
        reason=entry["reason"],
        is_refund=entry["amount_cents"] is not None,
    )
