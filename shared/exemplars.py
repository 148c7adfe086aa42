"""Exemplars: the trace of one observation, which dashboards link from a histogram's bucket.

They are attached only while traces are exported: a link to a trace that nobody has stored leads nowhere.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from opentelemetry.trace import SpanContext, format_trace_id, get_current_span

from shared.telemetry import is_tracing, parse_traceparent

TRACE_ID = "trace_id"
"""The label by which Grafana finds a trace (deploy/grafana/provisioning)."""


class ValueExemplar(NamedTuple):
    """An observed value, and the labels of its exemplar."""

    value: float
    labels: dict[str, str]


def current_exemplar() -> dict[str, str] | None:
    """Return the labels of the current trace's exemplar; None if the trace is not exported."""
    return _labels_of(get_current_span().get_span_context()) if is_tracing() else None


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
    context = parse_traceparent(traceparent)
    return _labels_of(context) if context is not None else None


def _labels_of(context: SpanContext) -> dict[str, str] | None:
    return {TRACE_ID: format_trace_id(context.trace_id)} if context.trace_flags.sampled else None
