"""The replies of the users service about credit, compared with the orders that they answer."""

from typing import NamedTuple
from uuid import UUID

from services.orders.models import Order
from shared.errors import Conflict


class CreditReplyMismatched(Conflict):
    """The user, amount or currency of a reply about credit differs from the order's."""

    code = "credit_reply_mismatched"


class CreditReply(NamedTuple):
    """The answer of the users service for one order: its credit is reserved, or refused for a reason.

    The order's event continues the reply's trace.
    """

    order_id: UUID
    user_id: UUID
    amount_cents: int
    currency: str
    refused_because: str | None
    traceparent: str | None = None
    tracestate: str | None = None

    def require_match(self, order: Order) -> None:
        """Check that it answers this very order. Raises: CreditReplyMismatched."""
        if (self.user_id, self.amount_cents, self.currency) != (order.user_id, order.total_cents, order.currency):
            raise CreditReplyMismatched(f"The order is {order.id}.")
