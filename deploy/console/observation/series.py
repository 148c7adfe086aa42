"""The samples of metrics of the last minutes, and what follows from them: latest values, rates, quantiles."""

import time
from collections import defaultdict, deque
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

STALE_SECONDS = 10.0
"""Age of the last scrape above which a target counts as down, and its values as outdated."""
KEPT_SECONDS = 120.0
"""Time for which samples are kept: longer than the window of any rate. Raised, the console needs more memory."""

Labels = frozenset[tuple[str, str]]


class Point(NamedTuple):
    """A sample: the time of the scrape, by the console's monotonic clock, and the value."""

    at: float
    value: float


class Sample(NamedTuple):
    """A series in the last scrape."""

    name: str
    labels: dict[str, str]
    value: float
    per_second: float


class Series:
    """The samples that were scraped of one target, such as a service.

    A run of equal values is kept as its first and its last point.
    """

    def __init__(self) -> None:
        self.scraped_at: float | None = None
        """The time of the last scrape."""
        self._points: dict[str, dict[Labels, deque[Point]]] = defaultdict(dict)
        self._times: deque[float] = deque()

    @property
    def is_stale(self) -> bool:
        """Return whether the last scrape is too old to be shown as the present state."""
        return self.scraped_at is None or time.monotonic() - self.scraped_at > STALE_SECONDS

    def add(self, text: str, *, at: float) -> None:
        """Keep the samples of a scrape, a page in Prometheus' text format, and drop those that are too old.

        Raises: ValueError.
        """
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        for sample in samples:
            if not sample.name.endswith("_created"):
                points = self._points[sample.name].setdefault(frozenset(sample.labels.items()), deque())
                _append(points, Point(at, sample.value))
        self.scraped_at = at
        self._times.append(at)
        while self._times[0] < at - KEPT_SECONDS:
            self._times.popleft()
        for by_labels in self._points.values():
            for labels in [each for each, points in by_labels.items() if points[-1].at < self._times[0]]:
                del by_labels[labels]

    def latest(self, name: str, **labels: str) -> float | None:
        """Return the sum of the values of the series with these labels in the last scrape; None if it had none."""
        values = [points[-1].value for _, points in self.current(name, **labels)]
        return sum(values) if values else None

    def rate(self, name: str, *, window_seconds: float = 30, **labels: str) -> float:
        """Return the increase of a counter per second over a window. A restart of its process counts as no increase."""
        return sum(self._rate(points, window_seconds) for _, points in self.current(name, **labels))

    def quantile(self, name: str, quantile: float, *, window_seconds: float = 60, **labels: str) -> float | None:
        """Return the upper bound of the bucket that holds a quantile of a histogram; None without observations."""
        buckets: dict[float, float] = defaultdict(float)
        for found, points in self.current(f"{name}_bucket", **labels):
            buckets[float(dict(found)["le"])] += self._rate(points, window_seconds)
        total = max(buckets.values(), default=0.0)
        if total <= 0:
            return None
        return next(bound for bound in sorted(buckets) if buckets[bound] >= quantile * total)

    def samples(self, prefix: str) -> Iterator[Sample]:
        """Yield the series of the last scrape whose metric has a name that begins with `prefix`, without buckets."""
        for name in sorted(self._points):
            if name.startswith(prefix) and not name.endswith("_bucket"):
                for labels, points in self.current(name):
                    yield Sample(name, dict(labels), points[-1].value, self._rate(points, 30))

    def current(self, name: str, **labels: str) -> Iterator[tuple[Labels, deque[Point]]]:
        """Yield the series of a metric with these labels that the last scrape had."""
        wanted = frozenset(labels.items())
        for found, points in self._points.get(name, {}).items():
            if wanted <= found and points[-1].at == self.scraped_at:
                yield found, points

    def _rate(self, points: deque[Point], window_seconds: float) -> float:
        """Return the increase per second since the first scrape of the window."""
        until = points[-1].at
        begun = max(until - window_seconds, self._times[0])
        if until <= begun:
            return 0.0
        recent = [point for point in points if point.at > begun]
        before = [point for point in points if point.at <= begun]
        # A series that began within the window began at zero.
        first = before[-1].value if before else (recent[0].value if self._times[0] >= points[0].at else 0.0)
        values = [first, *(point.value for point in recent)]
        return sum(max(0.0, after - earlier) for earlier, after in pairwise(values)) / (until - begun)


def _append(points: deque[Point], point: Point) -> None:
    if len(points) > 1 and points[-1].value == points[-2].value == point.value:
        points.pop()
    points.append(point)
    # The point before the period is kept: it has the value with which the period begins.
    while len(points) > 1 and points[1].at <= point.at - KEPT_SECONDS:
        points.popleft()
