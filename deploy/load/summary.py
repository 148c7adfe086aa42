"""The summary of a load: percentiles, rates and counts, and whether the load generator was the bottleneck."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

from deploy.demo.latency import Latency, latency_of
from deploy.load.second import Decision, Second, SlowRequest

MAX_CPU = 0.8
"""Share of a core. A load generator that uses more adds delays of its own to the latencies."""
MAX_BUSY_SHARE = 0.05
"""Share of the seconds in which it may use more."""
MAX_LATE_MILLISECONDS = 100.0
"""Delay of a customer's beginning. More means that the load is lower than it claims to be."""
MAX_REFUSED_SHARE = 0.1
"""Expected errors, as a share of the orders placed, above which a load tests errors rather than orders."""
SLOWEST = 5
"""Slow requests that the summary names, with their traces."""
STATUSES = ("confirmed", "rejected", "cancelled")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The results of a load. Latencies are in milliseconds, sagas in seconds."""

    seconds: float
    requests: int
    errors: Counter[str]
    expected_errors: Counter[str]
    routes: dict[str, Latency]
    placed: int
    decided: Counter[str]
    """Decided orders by status."""
    saga: Latency | None
    """Time from sending the POST to the confirmation."""
    clock_offset_seconds: float
    """The target's clock minus this one's, as far as the answers prove it."""
    outbox_age_at_end_seconds: float | None
    max_outbox_age_seconds: float | None
    max_consumer_lag: float | None
    generator_cpu: float
    """The share of a core that it used, on average."""
    max_generator_cpu: float
    left_out: int
    max_late_milliseconds: float
    slowest: list[SlowRequest]
    warnings: list[str] = field(default_factory=list)

    @property
    def pending(self) -> int:
        """Orders that were not seen decided."""
        return self.placed - self.decided.total()

    @property
    def error_rate(self) -> float:
        """Errors as a share of all requests."""
        return self.errors.total() / self.requests if self.requests else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return it for programs, without the classes of this module."""
        plain: dict[str, Any] = json.loads(json.dumps(vars(self), default=asdict))
        return plain | {"pending": self.pending, "error_rate": self.error_rate}


def summary_of(seconds: Sequence[Second], *, warm_up_seconds: float) -> Summary:
    """Summarise a run. Percentiles leave out what ended in the first `warm_up_seconds`; counts do not."""
    times = list(accumulate(second.elapsed for second in seconds))
    warm = [second for at, second in zip(times, seconds, strict=True) if at > warm_up_seconds]
    latencies: defaultdict[str, list[float]] = defaultdict(list)
    for second in warm:
        for route, values in second.requests.items():
            latencies[route] += values
    decisions = [decision for second in seconds for decision in second.decisions]
    offset = clock_offset_of(decisions)
    ages = [second.outbox_age_seconds for second in seconds if second.outbox_age_seconds is not None]
    lags = [second.consumer_lag for second in seconds if second.consumer_lag is not None]
    slowest = sorted((second.slowest for second in warm if second.slowest), key=lambda one: -one.milliseconds)
    return Summary(
        seconds=times[-1] if times else 0.0,
        requests=sum(len(values) for second in seconds for values in second.requests.values()),
        errors=sum((second.errors for second in seconds), Counter[str]()),
        expected_errors=sum((second.expected_errors for second in seconds), Counter[str]()),
        routes={route: found for route, values in sorted(latencies.items()) if (found := latency_of(values))},
        placed=sum(second.placed for second in seconds),
        decided=Counter(decision.status for decision in decisions),
        saga=latency_of([*saga_seconds([each for second in warm for each in second.decisions], offset=offset)]),
        clock_offset_seconds=offset,
        outbox_age_at_end_seconds=ages[-1] if ages else None,
        max_outbox_age_seconds=max(ages, default=None),
        max_consumer_lag=max(lags, default=None),
        generator_cpu=sum(second.cpu * second.elapsed for second in seconds) / (times[-1] if times else 1),
        max_generator_cpu=max((second.cpu for second in seconds), default=0.0),
        left_out=sum(second.left_out for second in seconds),
        max_late_milliseconds=max((second.late_milliseconds for second in warm), default=0.0),
        slowest=slowest[:SLOWEST],
        warnings=[*_warnings(warm)],
    )


def saga_seconds(decisions: Sequence[Decision], *, offset: float) -> Iterator[float]:
    """Yield the time from POST to confirmed of each confirmed order. `offset`: of the target's clock."""
    for decision in decisions:
        if decision.status == "confirmed":
            yield decision.decided_at - offset - decision.sent_at


def clock_offset_of(decisions: Sequence[Decision]) -> float:
    """Return how far the target's clock is ahead; 0 if the answers do not contradict it.

    An order was created after its POST was sent and before it was answered, so each order bounds the offset.
    """
    low = max((each.created_at - each.answered_at for each in decisions), default=0.0)
    high = min((each.created_at - each.sent_at for each in decisions), default=0.0)
    return 0.0 if low <= 0 <= high else (low + high) / 2


def _warnings(warm: Sequence[Second]) -> Iterator[str]:
    """Yield what makes the measured values doubtful: the load generator itself."""
    busy = sum(second.cpu > MAX_CPU for second in warm)
    if warm and busy > MAX_BUSY_SHARE * len(warm):
        yield (
            f"The load generator used more than {MAX_CPU:.0%} of a core in {busy} of {len(warm)} seconds: it may be the"
            " bottleneck, and latencies may be its own. Lower the rate, or use another machine."
        )
    placed, refused = sum(each.placed for each in warm), sum(each.expected_errors.total() for each in warm)
    if refused > MAX_REFUSED_SHARE * placed:
        yield (
            f"{refused:,} requests got an expected error, such as out_of_stock, beside {placed:,} orders: the load does"
            " less than it claims to do."
        )
    late = max((second.late_milliseconds for second in warm), default=0.0)
    if late > MAX_LATE_MILLISECONDS:
        yield f"Customers began up to {late:,.0f} ms late: the load was not as steady as it claims to be."
    if left_out := sum(second.left_out for second in warm):
        yield f"{left_out:,} customers were left out, because too many were in the shop: the load was too low."
