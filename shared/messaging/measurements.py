"""Measurements of the messaging tables: the generation, events that wait in the outbox, unresolved dead letters."""

from collections.abc import Mapping
from typing import Any

from prometheus_client import Gauge

from shared.measurements import Measurement
from shared.messaging.dead_letters.queries import BLOCKING

OUTBOX_EVENTS = Gauge("outbox_waiting_events", "Events that wait in the outbox, counted up to 10,000")
OUTBOX_AGE = Gauge("outbox_oldest_event_seconds", "Age of the oldest event in the outbox, 0 if it is empty")
DEAD_LETTERS = Gauge(
    "dead_letters_unresolved",
    "Dead letters that wait for an operator or the drain, counted up to 10,000",
    ["consumer", "reason"],
)
BLOCKED_KEYS = Gauge(
    "dead_letters_blocked_keys", "Keys whose later events queue behind a dead letter, among those", ["consumer"]
)

GENERATION = Gauge(
    "stream_generation", "Generation of the event streams; rises after a restore or a fail-over of the database"
)

_GENERATION = "SELECT max(generation) FROM stream_generation"
_OUTBOX = """
    SELECT json_build_object(
        'events', (SELECT count(*) FROM (SELECT FROM outbox LIMIT :max_counted) AS o),
        'age', (
            SELECT extract(epoch FROM clock_timestamp() - occurred_at) FROM outbox ORDER BY shard, id LIMIT 1
        )
    )
"""
_DEAD_LETTERS = f"""
    WITH unresolved AS (
        SELECT consumer, reason, CASE WHEN {BLOCKING} THEN (topic, key) END AS blocked
        FROM dead_letter WHERE resolution IS NULL LIMIT :max_counted
    )
    SELECT json_build_object(
        'dead_letters', (SELECT json_agg(json_build_array(consumer, reason, dead_letters)) FROM (
            SELECT consumer, reason, count(*) AS dead_letters FROM unresolved GROUP BY consumer, reason
        ) AS r),
        'blocked_keys', (SELECT json_agg(json_build_array(consumer, blocked_keys)) FROM (
            SELECT consumer, count(DISTINCT blocked) AS blocked_keys FROM unresolved GROUP BY consumer
        ) AS k)
    )
"""  # noqa: S608 - constants


def messaging_measurements() -> list[Measurement]:
    """Return the measurements of a service's messaging tables."""
    return [
        Measurement("generation", _GENERATION, GENERATION.set),
        Measurement("outbox", _OUTBOX, _publish_outbox),
        Measurement("dead_letters", _DEAD_LETTERS, _publish_dead_letters),
    ]


def _publish_outbox(found: dict[str, Any]) -> None:
    OUTBOX_EVENTS.set(found["events"])
    OUTBOX_AGE.set(max(0.0, found["age"] or 0.0))


def _publish_dead_letters(found: dict[str, Any]) -> None:
    _set_all(DEAD_LETTERS, {tuple(labels): count for *labels, count in found["dead_letters"] or []})
    _set_all(BLOCKED_KEYS, {tuple(labels): count for *labels, count in found["blocked_keys"] or []})


def _set_all(gauge: Gauge, counts: Mapping[tuple[str, ...], int]) -> None:
    """Set a gauge by its labels. Those that were seen before, and are not counted now, become 0."""
    seen = {tuple(sample.labels.values()) for metric in gauge.collect() for sample in metric.samples}
    for labels in {*seen, *counts}:
        gauge.labels(*labels).set(counts.get(labels, 0))
