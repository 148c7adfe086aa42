"""The view of a running load: a line of JSON per second for programs, a line of text now and then for people."""

import time
from dataclasses import dataclass, field
from typing import Any

from deploy.demo.latency import latency_of
from deploy.load.routes import PLACE_ORDER
from deploy.load.second import Second
from deploy.load.summary import STATUSES
from deploy.local.screen import Screen

TEXT_INTERVAL_SECONDS = 5.0


@dataclass
class LiveView:
    """Adds up a run's seconds."""

    elapsed: float = 0
    placed: int = 0
    decided: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0))
    _next_text_at: float = TEXT_INTERVAL_SECONDS

    def add(self, second: Second) -> dict[str, Any]:
        """Add a second, and return what it shows as JSON. Latencies are in milliseconds."""
        self.elapsed += second.elapsed
        self.placed += second.placed
        for decision in second.decisions:
            self.decided[decision.status] = self.decided.get(decision.status, 0) + 1
        number = sum(map(len, second.requests.values()))
        return {
            "at": round(time.time(), 3),
            "elapsed_seconds": round(self.elapsed, 1),
            "requests_per_second": _rate(number, second),
            "orders_per_second": _rate(second.placed, second),
            "latency_ms": {route: _percentiles(values) for route, values in sorted(second.requests.items())},
            "errors": dict(second.errors),
            "expected_errors": dict(second.expected_errors),
            "orders": {"placed": self.placed, **self.decided, "pending": self.placed - sum(self.decided.values())},
            "customers": second.in_flight,
            "left_out": second.left_out,
            "outbox_age_seconds": second.outbox_age_seconds,
            "consumer_lag": second.consumer_lag,
            "generator_cpu": second.cpu,
        }

    def show(self, second: Second, screen: Screen) -> None:
        """Add a second, and print a line every five seconds."""
        shown = self.add(second)
        if self.elapsed < self._next_text_at:
            return
        self._next_text_at += TEXT_INTERVAL_SECONDS
        post = shown["latency_ms"].get(PLACE_ORDER)
        latency = f"{PLACE_ORDER} p99 {post['p99']:.0f} ms" if post else f"no {PLACE_ORDER}"
        screen.console.print(
            f"  {self.elapsed:6.0f} s  {shown['requests_per_second']:6.1f} requests/s"
            f"  {shown['orders_per_second']:5.1f} orders/s  {latency}  {sum(second.errors.values())} errors"
            f"  {shown['orders']['pending']} pending"
        )


def _rate(number: int, second: Second) -> float:
    return round(number / second.elapsed, 1) if second.elapsed else 0.0


def _percentiles(milliseconds: list[float]) -> dict[str, float]:
    latency = latency_of(milliseconds)
    return {} if latency is None else {"p50": latency.p50, "p99": latency.p99, "max": latency.maximum}
