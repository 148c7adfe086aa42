"""prometheus_client: a histogram that observes many values at once.

prometheus_client 0.26 observes one value a call. This uses the private `_sum`, `_buckets` and `_upper_bounds`. Upstream
closed similar requests (prometheus/client_python#733, #911); none asks for many different values.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from prometheus_client import Histogram


class BatchHistogram(Histogram):
    """A histogram that observes many values in one call: calling `observe` costs 1.5 microseconds for each value."""

    def observe_all(self, values: Sequence[float]) -> None:
        """Observe each of the values."""
        self._sum.inc(sum(values))
        for bucket, count in Counter(bisect_left(self._upper_bounds, value) for value in values).items():
            self._buckets[bucket].inc(count)
