"""Seconds of a load and samples of a soak, as the real ones look."""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from deploy.load.routes import PLACE_ORDER, ROUTES
from deploy.load.second import Decision, Second, SlowRequest
from deploy.load.soak_samples import Sample

SENT_AT = 1_795_987_537.0
ORDERS_PER_SAMPLE = 40


def decision(*, status: str = "confirmed", saga_seconds: float = 0.5, clock_offset: float = 0.0) -> Decision:
    """Return an order that was created 10 ms after it was sent, and answered after 20 ms."""
    created_at, decided_at = SENT_AT + 0.01 + clock_offset, SENT_AT + saga_seconds + clock_offset
    return Decision(status, SENT_AT, SENT_AT + 0.02, created_at, decided_at)


def second(number: int = 0, **changed: Any) -> Second:
    """Return a second of five orders on every route, all confirmed."""
    usual: dict[str, Any] = {
        "elapsed": 1.0,
        "requests": {route: [10.0 + number % 7, 20.0, 30.0, 40.0, 50.0] for route in ROUTES},
        "errors": Counter[str](),
        "expected_errors": Counter[str](),
        "slowest": SlowRequest(PLACE_ORDER, 50.0, "ab" * 16),
        "placed": 5,
        "decisions": [decision()] * 5,
        "cpu": 0.1,
        "outbox_age_seconds": 0.1,
        "consumer_lag": 2.0,
    }
    return Second(**usual | changed)


def samples(values: Mapping[str, Callable[[float], float]], *, number: int = 60) -> list[Sample]:
    """Return a sample each 10 s, with values that are functions of the minutes; all have some noise."""
    rng = random.Random(7)  # noqa: S311 - noise that is the same each time
    return [
        Sample(
            at=10.0 * position,
            orders=ORDERS_PER_SAMPLE * position,
            pids={"orders": 1, "users": 2},
            values={name: of(position / 6) * rng.uniform(0.995, 1.005) for name, of in values.items()},
        )
        for position in range(number)
    ]
