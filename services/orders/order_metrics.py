"""Metrics of orders: the time until each is decided, and those that are pending past their deadline."""

from datetime import UTC, datetime
from typing import Any

from prometheus_client import Gauge, Histogram
from sqlalchemy.ext.asyncio import AsyncSession

from services.orders.models import Order
from shared.exemplars import current_exemplar
from shared.loops import call_after_commit
from shared.measurements import Measurement

DECISION = Histogram(
    "orders_decision_seconds",
    "Time from an order's creation to its decision: `confirmed`, `rejected`, or `expired` at its deadline",
    ["outcome"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
OVERDUE = Gauge("orders_overdue", "Orders that are pending past their deadline, counted up to 10,000")
OVERDUE_AGE = Gauge("orders_oldest_overdue_seconds", "Time since the deadline of the oldest of them, 0 without one")

# now() bounds the scan of the index of pending orders, which clock_timestamp() cannot.
_OVERDUE = """
    SELECT json_build_object('orders', count(*), 'oldest', extract(epoch FROM now() - min(deadline))) FROM (
        SELECT deadline FROM customer_order WHERE status = 'pending' AND deadline < now()
        ORDER BY deadline LIMIT :max_counted
    ) AS o
"""


def observe_decision_at_commit(session: AsyncSession, order: Order, outcome: str) -> None:
    """Observe the decision of an order in the current trace, once the session's transaction has committed."""
    exemplar = current_exemplar()

    def observe() -> None:
        seconds = max(0.0, (datetime.now(UTC) - order.created_at).total_seconds())
        DECISION.labels(outcome).observe(seconds, exemplar)

    call_after_commit(session, observe, on_rollback=lambda: None)


def _publish(found: dict[str, Any]) -> None:
    OVERDUE.set(found["orders"])
    OVERDUE_AGE.set(found["oldest"] or 0)


ORDERS = Measurement("orders", _OVERDUE, _publish)
