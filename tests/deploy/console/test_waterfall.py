"""The waterfall of a trace holds every span once, below its parent, at its time."""

from datetime import UTC, datetime

from deploy.console.traces.spans import Span
from deploy.console.traces.waterfall import Waterfall, WaterfallRow, waterfall

START_NS = 1_790_000_000_000_000_000
MS = 1_000_000


def test_spans_are_drawn_below_their_parents_at_their_times() -> None:
    request = _span("request", at_ms=0, for_ms=400)
    insert = _span("insert", parent="request", at_ms=100, for_ms=100)
    select = _span("select", parent="request", at_ms=50, for_ms=0.1)
    relay = _span("relay", parent="insert", at_ms=900, for_ms=100, service="relay")

    assert waterfall([relay, insert, select, request]) == Waterfall(
        started_at=datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC),
        duration_ms=1000,
        services=["orders", "relay"],
        rows=[
            _row(request, depth=0, offset_ms=0, duration_ms=400, x=0, width=400),
            _row(select, depth=1, offset_ms=50, duration_ms=0.1, x=50, width=3),
            _row(insert, depth=1, offset_ms=100, duration_ms=100, x=100, width=100),
            _row(relay, depth=2, offset_ms=900, duration_ms=100, x=900, width=100),
        ],
    )


def test_every_span_has_one_row_whatever_its_parent_is() -> None:
    spans = [
        _span("lost parent", parent="nobody", at_ms=5, for_ms=1),
        _span("below it", parent="lost parent", at_ms=6, for_ms=1),
        _span("own parent", parent="own parent", at_ms=1, for_ms=1),
        _span("hen", parent="egg", at_ms=2, for_ms=1),
        _span("egg", parent="hen", at_ms=3, for_ms=1),
    ]
    drawn = waterfall(spans)
    assert drawn is not None
    assert [(row.span.name, row.depth, row.is_detached) for row in drawn.rows] == [
        ("lost parent", 0, True),
        ("below it", 1, False),
        ("own parent", 0, True),
        ("hen", 0, True),
        ("egg", 1, False),
    ]


def test_a_deep_or_instantaneous_trace_can_be_drawn() -> None:
    chain = [_span(f"{number}", parent=f"{number - 1}" if number else None) for number in range(2_000)]
    drawn = waterfall(chain)
    assert drawn is not None
    assert (drawn.duration_ms, len(drawn.rows)) == (0, 2_000)
    assert (drawn.rows[-1].depth, drawn.rows[-1].indentation, drawn.rows[-1].x, drawn.rows[-1].width) == (1999, 8, 0, 3)
    assert waterfall([]) is None


def _span(
    name: str, *, parent: str | None = None, at_ms: float = 0, for_ms: float = 0, service: str = "orders"
) -> Span:
    return Span(
        span_id=name,
        parent_id=parent,
        service=service,
        name=name,
        started_ns=START_NS + int(at_ms * MS),
        duration_ns=int(for_ms * MS),
    )


def _row(span: Span, *, depth: int, offset_ms: float, duration_ms: float, x: int, width: int) -> WaterfallRow:
    return WaterfallRow(
        span=span, depth=depth, is_detached=False, offset_ms=offset_ms, duration_ms=duration_ms, x=x, width=width
    )
