"""The trace context is parsed, propagated and restored."""

import pytest
from opentelemetry.trace import SpanKind

from shared.telemetry import (
    continued_trace,
    current_trace_id,
    current_traceparent,
    current_tracestate,
    entry_span,
    is_tracing,
    new_trace,
    parse_traceparent,
    span,
    traceparent_of,
)

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


def parsed(traceparent: str) -> str | None:
    context = parse_traceparent(traceparent)
    return traceparent_of(context) if context else None


@pytest.mark.parametrize("flags", ["00", "01", "03"])
def test_a_parsed_traceparent_is_formatted_unchanged(flags: str) -> None:
    traceparent = f"00-{TRACE_ID}-00f067aa0ba902b7-{flags}"
    assert parsed(traceparent) == traceparent


def test_the_known_fields_of_a_later_version_are_parsed() -> None:
    assert parsed(f"cc-{TRACE_ID}-00f067aa0ba902b7-ff-new") == f"00-{TRACE_ID}-00f067aa0ba902b7-03"


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "nonsense",
        f"ff-{TRACE_ID}-00f067aa0ba902b7-01",
        f"00-{TRACE_ID}-00f067aa0ba902b7-01-more",
        f"00-{TRACE_ID.upper()}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID}-00f067aa0ba902b7",
        f"00-{TRACE_ID}-00f067aa0ba902b7-01\n00",
    ],
)
def test_a_malformed_traceparent_begins_a_new_trace(malformed: str) -> None:
    assert parse_traceparent(malformed) is None
    with continued_trace(malformed, tracestate="vendor=1"):
        assert current_trace_id() not in {None, TRACE_ID}
        assert current_tracestate() is None


def test_a_new_trace_is_sampled() -> None:
    assert traceparent_of(new_trace()).endswith("-01")


def test_a_block_continues_the_trace_and_ends_it() -> None:
    with continued_trace(TRACEPARENT, tracestate="vendor=1,other=2"):
        # Unchanged, since the block has no span that others could find: a new id would be the parent of nothing.
        assert (current_traceparent(), current_trace_id()) == (TRACEPARENT, TRACE_ID)
        assert current_tracestate() == "vendor=1,other=2"
    assert (current_traceparent(), current_trace_id(), current_tracestate()) == (None, None, None)


def test_the_outer_trace_is_restored_after_a_nested_one() -> None:
    with continued_trace(TRACEPARENT):
        with continued_trace(None):
            assert current_trace_id() != TRACE_ID
        assert current_traceparent() == TRACEPARENT


def test_an_oversized_tracestate_is_dropped() -> None:
    context = parse_traceparent(TRACEPARENT, tracestate="a=" + "b" * 600)
    assert context is not None
    assert not context.trace_state


def test_without_an_exporter_spans_pass_the_trace_on() -> None:
    assert not is_tracing()
    with (
        entry_span("GET /", kind=SpanKind.SERVER, traceparent=TRACEPARENT, tracestate="vendor=1"),
        span("child") as one,
    ):
        assert not one.is_recording()
        assert (current_traceparent(), current_tracestate()) == (TRACEPARENT, "vendor=1")
