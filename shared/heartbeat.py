"""Heartbeats: the signs of life of a process's loops, set by the loops themselves and read from any thread."""

import time

from prometheus_client import Gauge

MAX_AGE_SECONDS = 60.0
"""A loop without a heartbeat for longer than this is stuck, and a restart of the process helps. Every call in a loop
has a shorter time-out. Raised, a stuck loop is noticed later."""
MAX_FAILING_SECONDS = 60.0
"""A loop whose rounds have all failed for longer than this makes the service degraded: what it needs is away or broken,
which a restart would not change. Raised, short outages are not reported."""

HEARTBEAT = Gauge(
    "loop_heartbeat_timestamp_seconds",
    "Time of the loop's last heartbeat. While the loop waits for work it still has one every few seconds.",
    ["loop"],
)
SUCCESS = Gauge(
    "loop_success_timestamp_seconds", "Time at which the loop last ended a round without an error", ["loop"]
)


class Heartbeat:
    """The last sign of life of one loop, and the time since when its rounds fail.

    Times are plain floats of the monotonic clock: a thread reads them while the event loop is blocked.
    """

    def __init__(self, loop: str, *, max_age_seconds: float = MAX_AGE_SECONDS) -> None:
        self.loop = loop
        self.max_age_seconds = max_age_seconds
        self._beat_at = time.monotonic()
        self._failed_at = 0.0
        self._failing_since: float | None = None

    @property
    def age_seconds(self) -> float:
        """Time since the last heartbeat."""
        return time.monotonic() - self._beat_at

    @property
    def is_stuck(self) -> bool:
        """Return whether the last heartbeat is too old."""
        return self.age_seconds > self.max_age_seconds

    @property
    def failing_seconds(self) -> float:
        """Time since the first of the failures after the last success; 0 if the last failure is old."""
        since = self._failing_since
        if since is None or time.monotonic() - self._failed_at > MAX_FAILING_SECONDS:
            # A loop that has had nothing to do since its last failure does not fail any more.
            return 0.0
        return time.monotonic() - since

    def beat(self) -> None:
        """Note that the loop is alive."""
        self._beat_at = time.monotonic()
        HEARTBEAT.labels(self.loop).set_to_current_time()

    def succeeded(self) -> None:
        """Note that a round has ended without an error."""
        self.beat()
        self._failing_since = None
        SUCCESS.labels(self.loop).set_to_current_time()

    def failed(self) -> None:
        """Note that a round has failed. A heartbeat too: a restart would not bring back what the loop needs."""
        self.beat()
        if self._failing_since is None or self._beat_at - self._failed_at > MAX_FAILING_SECONDS:
            self._failing_since = self._beat_at
        self._failed_at = self._beat_at

    def problem(self) -> str | None:
        """Return what is wrong with the loop in words; None if nothing is."""
        if self.is_stuck:
            return f"no heartbeat for {self.age_seconds:.0f} s"
        if self.failing_seconds > MAX_FAILING_SECONDS:
            return f"no success for {self.failing_seconds:.0f} s"
        return None
