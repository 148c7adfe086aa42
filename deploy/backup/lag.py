"""Measure how far the archive is behind its server."""

import time
from collections import deque
from dataclasses import dataclass, field

from deploy.backup.server import APPLICATION_NAME, SLOT, Access
from deploy.backup.wal import parse_lsn

_MEASURE = """
    SELECT pg_current_wal_flush_lsn()::text AS written, flush_lsn::text AS received,
           slot.restart_lsn::text AS kept_from,
           coalesce(slot.wal_status = 'lost', false) AS is_lost
    FROM (SELECT) AS one
    LEFT JOIN pg_stat_replication ON application_name = $1 AND state = 'streaming'
    LEFT JOIN pg_replication_slots AS slot ON slot.slot_name = $2
"""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Positions of the server and of its archive at one moment."""

    written: int
    received: int | None
    """The end of what the archive has on its disk; None if no position is known."""
    is_connected: bool
    is_lost: bool
    """Whether the server has removed WAL that the archive lacks."""

    @property
    def lag_bytes(self) -> int | None:
        """The WAL that the archive lacks."""
        return None if self.received is None else max(self.written - self.received, 0)


@dataclass
class LagClock:
    """Turns positions into seconds: the age of the oldest measured position that the archive has not reached."""

    _waiting: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, measurement: Measurement) -> None:
        """Add a measurement."""
        self._waiting.append((time.monotonic(), measurement.written))
        received = measurement.received or 0
        while self._waiting and self._waiting[0][1] <= received:
            self._waiting.popleft()
        # Nobody asks for a lag of days to the second.
        if len(self._waiting) > 10_000:
            del self._waiting[len(self._waiting) // 2]

    @property
    def seconds(self) -> float:
        """The lag."""
        return time.monotonic() - self._waiting[0][0] if self._waiting else 0.0


async def measure(access: Access) -> Measurement:
    """Ask a server for its positions. Raises: NotArchiving if it does not answer."""
    async with access.connection() as connection:
        [row] = await connection.fetch(_MEASURE, APPLICATION_NAME, SLOT)
    position = row["received"] or row["kept_from"]
    return Measurement(
        written=parse_lsn(row["written"]),
        received=parse_lsn(position) if position else None,
        is_connected=row["received"] is not None,
        is_lost=row["is_lost"],
    )
