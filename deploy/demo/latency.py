"""How long customers waited: from the sending of the POST to the confirmation, and to the mail."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deploy.demo.outcomes import Mails, Outcome


@dataclass(frozen=True)
class Latency:
    """Seconds that half of them, 99 of 100 of them, and all of them stayed within."""

    count: int
    p50: float
    p99: float
    longest: float


def latency_to_confirmed(outcomes: Iterable[Outcome]) -> Latency | None:
    """By the order's own timeline."""
    return latency_of(
        [
            (entry.at - outcome.order.sent_at).total_seconds()
            for outcome in outcomes
            if (entry := outcome.entry("confirmed")) is not None
        ]
    )


def latency_to_mail(outcomes: Iterable[Outcome], mails: Mails) -> Latency | None:
    """Until the mail server had taken the mail that tells of the confirmation."""
    received = mails.received_for("order.confirmed")
    return latency_of(
        [
            (min(received[outcome.order.id]) - outcome.order.sent_at).total_seconds()
            for outcome in outcomes
            if outcome.order.id in received
        ]
    )


def latency_of(seconds: Sequence[float]) -> Latency | None:
    """None of nothing. Nearest rank: every value it gives was measured."""
    if not seconds:
        return None
    ordered = sorted(seconds)

    def percentile(percent: int) -> float:
        return ordered[math.ceil(len(ordered) * percent / 100) - 1]

    return Latency(len(ordered), percentile(50), percentile(99), ordered[-1])
