"""Builds the events of one order, as the users service consumes them."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.users.subscribers import CreditEvent
from shared.events.orders import OrderCancelled, OrderCreated, OrderRefunded, OrderRejected, OrderShipped
from shared.ids import new_id


class Order:
    """Builds the events of one order."""

    def __init__(self, user_id: UUID, *, total_cents: int = 600, currency: str = "GBP") -> None:
        self.id = new_id()
        self.facts: dict[str, Any] = {
            "order_id": self.id,
            "number": "O-1",
            "user_id": user_id,
            "total_cents": total_cents,
            "currency": currency,
        }

    def of(self, user_id: UUID) -> "Order":
        """Return this order as if it were another user's."""
        other = Order(user_id)
        other.id = self.id
        other.facts = self.facts | {"user_id": user_id}
        return other

    def created(self) -> CreditEvent:
        return OrderCreated(**self.facts, deadline=datetime.now(UTC))

    def cancelled(self) -> CreditEvent:
        return OrderCancelled(**self.facts, reason="customer")

    def rejected(self) -> CreditEvent:
        return OrderRejected(**self.facts, reason="out_of_stock")

    def shipped(self) -> CreditEvent:
        return OrderShipped(**self.facts)

    def refunded(self, amount_cents: int, *, refunded_cents: int) -> CreditEvent:
        return OrderRefunded(**self.facts, amount_cents=amount_cents, refunded_cents=refunded_cents)

    def reply(self, **changes: Any) -> dict[str, Any]:
        """Return the data of the event that replies to the order."""
        return {
            "user_id": str(self.facts["user_id"]),
            "order_id": str(self.id),
            "amount_cents": self.facts["total_cents"],
            "currency": self.facts["currency"],
        } | changes
