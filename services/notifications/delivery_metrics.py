"""Metrics of the deliveries that are due, measured with the service's other tables."""

from typing import Any

from prometheus_client import Gauge

from shared.measurements import Measurement

DUE = Gauge("notifications_due_deliveries", "Deliveries whose next attempt is due, counted up to 10,000")
OLDEST = Gauge("notifications_oldest_due_seconds", "Time since the oldest due attempt should have begun, 0 without one")

# First attempts and retries have an index each. now() bounds the scans of them, which clock_timestamp() cannot.
_DUE = """
    SELECT json_build_object('due', count(*), 'oldest', extract(epoch FROM now() - min(next_attempt_at))) FROM (
        (
            SELECT next_attempt_at FROM delivery WHERE status = 'queued' AND next_attempt_at <= now()
            ORDER BY next_attempt_at LIMIT :max_counted
        ) UNION ALL (
            SELECT next_attempt_at FROM delivery WHERE status IN ('sending', 'retrying') AND next_attempt_at <= now()
            ORDER BY next_attempt_at LIMIT :max_counted
        ) ORDER BY next_attempt_at LIMIT :max_counted
    ) AS d
"""


def _publish(found: dict[str, Any]) -> None:
    DUE.set(found["due"])
    OLDEST.set(found["oldest"] or 0)


DELIVERIES = Measurement("deliveries", _DUE, _publish)
