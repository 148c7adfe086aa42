"""Exemplars: the trace of one observation, which dashboards link from a histogram's bucket.

They are attached only while traces are exported: a link to a trace that nobody has stored leads nowhere.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from shared.telemetry import current_traceparent, is_tracing

TRACE_ID = "trace_id"
"""The label by which Grafana finds a trace (deploy/grafana/provisioning)."""
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})")
_SAMPLED = 1
"""The flag of a trace whose spans are exported."""


class ValueExemplar(NamedTuple):
    """An observed value, and the labels of its exemplar."""

    value: float
    labels: dict[str, str]


def current_exemplar() -> dict[str, str] | None:
    """Return the labels of the current trace's exemplar; None if the trace is not exported."""
    return exemplar_of(current_traceparent()) if is_tracing() else None


def exemplar_of_largest(values: Sequence[float], traceparent_of: Callable[[int], str | None]) -> ValueExemplar | None:
    """Return the exemplar of the largest value; None if its trace is not exported.

    `traceparent_of` returns the traceparent of the value at an index. It is called at most once.
    """
    if not values or not is_tracing():
        return None
    largest = max(range(len(values)), key=values.__getitem__)
    labels = exemplar_of(traceparent_of(largest))
    return ValueExemplar(values[largest], labels) if labels else None


def exemplar_of(traceparent: str | None) -> dict[str, str] | None:
    """Return the labels of a trace's exemplar; None without a trace that is sampled."""
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return {TRACE_ID: match[1]} if match and int(match[2], 16) & _SAMPLED else None
