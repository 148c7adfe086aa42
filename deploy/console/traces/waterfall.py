"""The waterfall of a trace: its spans as a tree, each with its place on a common axis of time."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from deploy.console.traces.spans import Span, moment

WIDTH = 1_000
"""Width of the axis in the units of the drawing."""
MIN_BAR_WIDTH = 3
"""Width of the bar of a span that is too short to be seen."""
MAX_INDENTATION = 8
"""Depth from which on rows are indented no further, so that a phone can show them."""


@dataclass(frozen=True)
class WaterfallRow:
    """A span with its place in the tree and on the axis."""

    span: Span
    depth: int
    """0 for a root."""
    is_detached: bool
    """Whether the span has a parent that is not in the trace: it was not received, or not yet."""
    offset_ms: float
    """Time from the start of the trace to that of the span."""
    duration_ms: float
    x: int
    width: int

    @property
    def indentation(self) -> int:
        """The depth, as far as it is shown."""
        return min(self.depth, MAX_INDENTATION)


@dataclass(frozen=True)
class Waterfall:
    """The spans of a trace from the root down, those of one parent in the order of their start."""

    started_at: datetime
    duration_ms: float
    services: list[str]
    rows: list[WaterfallRow]

    @property
    def failed_spans(self) -> int:
        """The number of spans that failed."""
        return sum(row.span.has_failed for row in self.rows)


def waterfall(spans: Sequence[Span]) -> Waterfall | None:
    """Return the waterfall of a trace's spans; None without spans. Every span has one row, whatever its parent is."""
    if not spans:
        return None
    started_ns = min(span.started_ns for span in spans)
    duration_ns = max(span.started_ns + span.duration_ns for span in spans) - started_ns
    return Waterfall(
        started_at=moment(started_ns),
        duration_ms=duration_ns / 1e6,
        services=list(dict.fromkeys(span.service for span in sorted(spans, key=_start))),
        rows=[_row(span, depth, started_ns=started_ns, duration_ns=duration_ns) for span, depth in _tree(spans)],
    )


def _tree(spans: Sequence[Span]) -> Iterator[tuple[Span, int]]:
    """Yield each span after its parent, with its depth."""
    ids = {span.span_id for span in spans}
    children: dict[str, list[Span]] = defaultdict(list)
    roots = []
    for span in sorted(spans, key=_start):
        if span.parent_id in ids:
            children[span.parent_id or ""].append(span)
        else:
            roots.append(span)
    shown: set[str] = set()
    # Spans that are their own ancestors, which only a faulty sender makes, have no root: they come last.
    for root in [*roots, *sorted(spans, key=_start)]:
        waiting = [(root, 0)] if root.span_id not in shown else []
        while waiting:
            span, depth = waiting.pop()
            if span.span_id not in shown:
                shown.add(span.span_id)
                yield span, depth
                waiting.extend((child, depth + 1) for child in reversed(children[span.span_id]))


def _start(span: Span) -> tuple[int, int]:
    """Return the order of spans: of two that start at once, the longer one is first."""
    return span.started_ns, -span.duration_ns


def _row(span: Span, depth: int, *, started_ns: int, duration_ns: int) -> WaterfallRow:
    scale = WIDTH / max(1, duration_ns)
    offset_ns = span.started_ns - started_ns
    x = min(round(offset_ns * scale), WIDTH - MIN_BAR_WIDTH)
    return WaterfallRow(
        span=span,
        depth=depth,
        is_detached=depth == 0 and span.parent_id is not None,
        offset_ms=offset_ns / 1e6,
        duration_ms=span.duration_ns / 1e6,
        x=x,
        width=min(max(MIN_BAR_WIDTH, round(span.duration_ns * scale)), WIDTH - x),
    )
