"""Finds out when the cache was unavailable to the orders service, as far as its log tells."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from services.orders.settings import Settings
from shared.cache import DEFAULT_LEASE
from tests.chaos.histories.history import Interval

LOGGED = b"cache_unavailable"
POLL_SECONDS = 0.2
SILENT_SECONDS = 30.0
"""Time for which the service logs no other error of the cache after the first one."""
MARGIN_SECONDS = 1.0
PRODUCT_CACHE_SECONDS = 5
"""The lifetime of cached products in campaigns. Until it ends, a read after an outage of the cache may be outdated."""


def max_cached_seconds(lifetime_seconds: float = Settings.model_fields["product_cache_seconds"].default) -> float:
    """Return how long a value may outlive a change whose invalidation has failed.

    A load that began before the change may store its value as long as it holds its lease.
    """
    return lifetime_seconds + DEFAULT_LEASE.total_seconds() + MARGIN_SECONDS


@dataclass
class CacheOutages:
    """Follows the log of the orders service. Its time stamps are not used: faults shift the service's clock."""

    log: Path
    began: float
    """The monotonic time at which the campaign began."""
    found: list[Interval] = field(default_factory=list)
    _position: int = 0
    _looked_at: float = 0.0

    def __post_init__(self) -> None:
        """Skip what earlier campaigns have logged."""
        self._position = self._size()
        self._looked_at = self._now()

    async def run(self) -> None:
        """Follow the log until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            self.look()

    def look(self) -> None:
        """Look at what was logged since the last time."""
        began, self._looked_at = self._looked_at, self._now()
        if LOGGED in self._new_text():
            ended = self._looked_at + SILENT_SECONDS + MARGIN_SECONDS
            self.found.append(Interval(began - MARGIN_SECONDS, ended))

    def _new_text(self) -> bytes:
        if self._size() < self._position:  # it was rotated
            self._position = 0
        if not self.log.exists():
            return b""
        with self.log.open("rb") as log:
            log.seek(self._position)
            text = log.read()
            self._position = log.tell()
        return text

    def _now(self) -> float:
        return time.monotonic() - self.began

    def _size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0
