"""Honest events beside hostile records: of users who change their names or are erased, and of orders."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

from shared.events.contract import Event
from shared.events.notifications import RecipientErased
from shared.events.orders import (
    OrderConfirmed,
    OrderCreated,
    OrderDelivered,
    OrderRefunded,
    OrderShipped,
)
from shared.events.users import CreditReleased, UserCreated, UserUpdated
from shared.ids import new_id
from tests.harness.personal_keys import profile_event


class HonestEvents:
    """An endless series of events of some keys in turn, each with its sequence."""

    def __init__(self, topic: str, keys: int) -> None:
        self._topic = topic
        self._ids = [new_id() for _ in range(keys)]
        self.sent: dict[str, list[UUID]] = defaultdict(list)
        """The ids of the events that were sent, by type."""

    @property
    def keys(self) -> list[str]:
        """The keys of the events."""
        return [str(id_) for id_ in self._ids]

    def __iter__(self) -> Iterator[tuple[int, Event]]:
        for sequence in count(1):
            for id_ in self._ids:
                yield sequence, _EVENTS[self._topic](id_, sequence)


def _of_recipient(user_id: UUID, _sequence: int) -> Event:
    return RecipientErased(user_id=user_id, request_id=new_id())


def _of_user(user_id: UUID, sequence: int) -> Event:
    if sequence % 3 == 0:
        # No service handles it, so it moves no position.
        return CreditReleased(user_id=user_id, order_id=new_id(), amount_cents=100, currency="GBP")
    event_class = UserCreated if sequence == 1 else UserUpdated
    return profile_event(event_class, user_id, email=f"{user_id}@example.com", name=f"Name {sequence}")


def _of_order(order_id: UUID, sequence: int) -> Event:
    facts: dict[str, Any] = {
        "order_id": order_id,
        "number": "O-1",
        "user_id": order_id,
        "total_cents": 1_000,
        "currency": "GBP",
    }
    if sequence > 4:
        return OrderRefunded(**facts, amount_cents=1, refunded_cents=sequence - 4)
    return (
        OrderCreated(**facts, deadline=datetime.now(UTC) + timedelta(minutes=2)),
        OrderConfirmed(**facts, lines=()),
        OrderShipped(**facts),
        OrderDelivered(**facts),
    )[sequence - 1]


_EVENTS: dict[str, Callable[[UUID, int], Event]] = {
    "users": _of_user,
    "orders": _of_order,
    "notifications": _of_recipient,
}
"""The event with this number of a key, by topic."""
