"""Metrics of the erasures that are pending, measured with the service's other tables."""

from typing import Any

from prometheus_client import Gauge

from shared.measurements import Measurement

PENDING = Gauge("erasures_pending", "Erasures that are not completed, counted up to 10,000")
OLDEST = Gauge("erasures_oldest_pending_seconds", "Time since the oldest of them was requested, 0 without one")

_PENDING = """
    SELECT json_build_object('pending', count(*), 'oldest', extract(epoch FROM now() - min(requested_at))) FROM (
        SELECT requested_at FROM erasure WHERE completed_at IS NULL ORDER BY requested_at, id LIMIT :max_counted
    ) AS e
"""


def _publish(found: dict[str, Any]) -> None:
    PENDING.set(found["pending"])
    OLDEST.set(found["oldest"] or 0)


ERASURES = Measurement("erasures", _PENDING, _publish)
