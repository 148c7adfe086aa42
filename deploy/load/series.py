"""The seconds of a load, in bins for plots: each has as many seconds as a line with MAX_POINTS needs."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from deploy.demo.latency import Latency, latency_of
from deploy.load.drawing import MAX_POINTS
from deploy.load.second import Second
from deploy.load.summary import clock_offset_of, saga_seconds


@dataclass
class Bin:
    """Some seconds of a load."""

    at: float
    """The end of the bin, in seconds since the beginning."""
    elapsed: float = 0
    requests: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    sagas: list[float] = field(default_factory=list)
    placed: int = 0
    confirmed: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """Errors by their status and code, whatever the route."""
    outbox_ages: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)

    def per_second(self, number: float) -> float:
        """Return a number of this bin as a rate."""
        return number / self.elapsed if self.elapsed else 0.0


def bins_of(seconds: Sequence[Second]) -> list[Bin]:
    """Put the seconds into at most MAX_POINTS bins of equally many seconds."""
    size = max(1, math.ceil(len(seconds) / MAX_POINTS))
    offset = clock_offset_of([decision for second in seconds for decision in second.decisions])
    times = list(accumulate(second.elapsed for second in seconds))
    bins: list[Bin] = []
    for start in range(0, len(seconds), size):
        chosen = seconds[start : start + size]
        one = Bin(at=times[min(start + size, len(seconds)) - 1])
        for second in chosen:
            _add(one, second, offset=offset)
        bins.append(one)
    return bins


def points(
    bins: Sequence[Bin], values: Callable[[Bin], Sequence[float]], percentile: Callable[[Latency], float]
) -> tuple[list[float], list[float]]:
    """Return the times and a percentile of the values of those bins that have any."""
    found = [(one.at, latency_of(values(one))) for one in bins]
    return [at for at, latency in found if latency], [percentile(latency) for _, latency in found if latency]


def _add(one: Bin, second: Second, *, offset: float) -> None:
    one.elapsed += second.elapsed
    for route, latencies in second.requests.items():
        one.requests[route] += latencies
    one.sagas += saga_seconds(second.decisions, offset=offset)
    one.placed += second.placed
    one.confirmed += sum(decision.status == "confirmed" for decision in second.decisions)
    for name, number in [*second.errors.items(), *second.expected_errors.items()]:
        one.errors[name.partition(": ")[2]] += number
    if second.outbox_age_seconds is not None:
        one.outbox_ages.append(second.outbox_age_seconds)
    if second.consumer_lag is not None:
        one.lags.append(second.consumer_lag)
    one.cpus.append(second.cpu)
    one.late.append(second.late_milliseconds)
