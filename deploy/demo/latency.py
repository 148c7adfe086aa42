"""Latencies that customers see: from sending the POST to the confirmation, and to the confirmation mail."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deploy.demo.mails import Mails
from deploy.demo.timelines import Timeline


@dataclass(frozen=True)
class Latency:
    """Percentiles and the maximum of `count` measured values, in seconds."""

    count: int
    p50: float
    p99: float
    maximum: float


def latency_to_confirmed(timelines: Iterable[Timeline]) -> Latency | None:
    """Return the latency until the time of the confirmation in the order's timeline."""
    return latency_of(
        [
            (entry.at - timeline.order.sent_at).total_seconds()
            for timeline in timelines
            if (entry := timeline.entry("confirmed")) is not None
        ]
    )


def latency_to_mail(timelines: Iterable[Timeline], mails: Mails) -> Latency | None:
    """Return the latency until the mail catcher received the confirmation mail."""
    received = mails.received_for("order.confirmed")
    return latency_of(
        [
            (min(received[timeline.order.id]) - timeline.order.sent_at).total_seconds()
            for timeline in timelines
            if timeline.order.id in received
        ]
    )


def latency_of(seconds: Sequence[float]) -> Latency | None:
    """Return the nearest-rank percentiles, so that each is a measured value; None without values."""
    if not seconds:
        return None
    ordered = sorted(seconds)

    def percentile(percent: int) -> float:
        return ordered[math.ceil(len(ordered) * percent / 100) - 1]

    return Latency(len(ordered), percentile(50), percentile(99), ordered[-1])
