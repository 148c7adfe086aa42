"""Exemplars: the trace of one observation, which dashboards link from a histogram's bucket.

They are attached only while traces are exported: a link to a trace that nobody has stored leads nowhere.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from shared.telemetry import current_trace_id, is_tracing, parse_traceparent

TRACE_ID = "trace_id"
"""The label by which Grafana finds a trace (deploy/grafana/provisioning)."""
_SAMPLED = 1
"""The flag of a trace whose spans are exported."""


class ValueExemplar(NamedTuple):
    """An observed value, and the labels of its exemplar."""

    value: float
    labels: dict[str, str]


def current_exemplar() -> dict[str, str] | None:
    """Return the labels of the current trace's exemplar; None outside of a trace, and while traces are not exported."""
    trace_id = current_trace_id() if is_tracing() else None
    return {TRACE_ID: trace_id} if trace_id else None


def exemplar_of_largest(values: Sequence[float], traceparent_of: Callable[[int], str | None]) -> ValueExemplar | None:
    """Return the exemplar of the largest value; None while traces are not exported, and if its trace is not.

    `traceparent_of` returns the traceparent of the value at an index. It is called at most once.
    """
    if not values or not is_tracing():
        return None
    largest = max(range(len(values)), key=values.__getitem__)
    labels = exemplar_of(traceparent_of(largest))
    return ValueExemplar(values[largest], labels) if labels else None


def exemplar_of(traceparent: str | None) -> dict[str, str] | None:
    """Return the labels of a trace's exemplar; None without a trace that is sampled."""
    trace = parse_traceparent(traceparent) if traceparent else None
    return {TRACE_ID: trace.trace_id} if trace and int(trace.flags, 16) & _SAMPLED else None
