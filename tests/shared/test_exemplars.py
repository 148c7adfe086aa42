"""An exemplar names a trace that somebody may have stored."""

import pytest

from shared.exemplars import current_exemplar, exemplar_of, exemplar_of_largest
from shared.telemetry import continued_trace

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("traceparent", "labels"),
    [
        (f"00-{TRACE_ID}-00f067aa0ba902b7-01", {"trace_id": TRACE_ID}),
        (f"00-{TRACE_ID}-00f067aa0ba902b7-00", None),
        ("no traceparent", None),
        (None, None),
    ],
)
def test_only_a_sampled_trace_has_an_exemplar(traceparent: str | None, labels: dict[str, str] | None) -> None:
    assert exemplar_of(traceparent) == labels


def test_nothing_has_an_exemplar_while_traces_are_not_exported() -> None:
    with continued_trace(traceparent := f"00-{TRACE_ID}-00f067aa0ba902b7-01"):
        assert current_exemplar() is None
        assert exemplar_of_largest([1.0], lambda _: traceparent) is None
