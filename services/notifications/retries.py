"""The retries of deliveries: exponential backoff with jitter, for a time instead of a number of attempts.

A count would be used up by an outage of our own database or by a long queue, in which no attempt reaches the provider.
"""

import random
from dataclasses import dataclass
from datetime import timedelta

MAX_DOUBLINGS = 20
"""Doublings of the first delay before the maximum; more would overflow an interval."""
JITTER = 0.5
"""Upper bound of the random addition to a delay, as a fraction of it. It spreads the mails that an outage has hit at
once. Nothing is subtracted: a greylisting server counts from the first attempt."""


@dataclass(frozen=True)
class RetryPolicy:
    """The delays between attempts of a delivery, and the time for which it is tried."""

    initial_delay: timedelta = timedelta(seconds=60)
    """Delay before the first retry; doubles each time."""
    max_delay: timedelta = timedelta(hours=1)
    """Upper bound of a delay without its jitter: the longest wait after an outage has ended."""
    period: timedelta = timedelta(hours=24)
    """Time from when a delivery was due first; an attempt that fails later than that is the last one."""

    def delay_after(self, tries: int) -> timedelta:
        """Return the delay after this many attempts, without jitter."""
        return min(self.initial_delay * (1 << min(tries - 1, MAX_DOUBLINGS)), self.max_delay)

    def jittered_delay_after(self, tries: int) -> timedelta:
        """Return the delay after this many attempts, with jitter."""
        return self.delay_after(tries) * random.uniform(1, 1 + JITTER)  # noqa: S311 - not for security
