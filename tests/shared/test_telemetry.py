"""The trace context is parsed, propagated and restored."""

import pytest
from structlog.contextvars import get_contextvars

from shared.telemetry import (
    TraceContext,
    continued_trace,
    current_traceparent,
    current_tracestate,
    parse_traceparent,
)

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


def test_a_parsed_traceparent_is_formatted_unchanged() -> None:
    context = parse_traceparent(TRACEPARENT)
    assert context == TraceContext(TRACE_ID, "00f067aa0ba902b7", "01")
    assert context.traceparent == TRACEPARENT


def test_the_known_fields_of_a_later_version_are_parsed() -> None:
    assert parse_traceparent(f"cc-{TRACE_ID}-00f067aa0ba902b7-ff-new") == TraceContext(
        TRACE_ID, "00f067aa0ba902b7", "03"
    )


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
    with continued_trace(malformed, tracestate="vendor=1") as context:
        assert context.trace_id != TRACE_ID
        assert current_tracestate() is None


def test_a_block_continues_the_trace_and_ends_it() -> None:
    with continued_trace(TRACEPARENT, tracestate="vendor=1") as context:
        assert current_traceparent() == context.traceparent
        assert context.trace_id == TRACE_ID
        assert context.traceparent != TRACEPARENT
        assert current_tracestate() == "vendor=1"
        assert get_contextvars()["trace_id"] == TRACE_ID
    assert current_traceparent() is None
    assert "trace_id" not in get_contextvars()


def test_the_outer_trace_is_restored_after_a_nested_one() -> None:
    with continued_trace(TRACEPARENT) as outer:
        with continued_trace(None) as inner:
            assert inner.trace_id != outer.trace_id
        assert current_traceparent() == outer.traceparent
        assert get_contextvars()["trace_id"] == TRACE_ID


def test_an_oversized_tracestate_is_dropped() -> None:
    context = parse_traceparent(TRACEPARENT, tracestate="a=" + "b" * 600)
    assert context is not None
    assert context.tracestate is None
