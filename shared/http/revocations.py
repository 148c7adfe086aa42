"""The revoked sessions whose access tokens have not expired yet, as the users service knows them.

Access tokens are verified without asking the users service, so a revocation must be learned: each process that verifies
tokens keeps this list, and reads what is new at most once a second, only while it verifies tokens.
"""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from prometheus_client import Counter, Gauge

from shared.error_descriptions import describe_error
from shared.health import Unhealthy

logger = structlog.get_logger(__name__)

MIN_READ_INTERVAL = timedelta(seconds=1)
"""Delay between two reads. Raised, a revocation takes effect later; lowered, the users service has more to do."""
MAX_AGE = timedelta(seconds=3)
"""A verification waits for a read if the list is older. Otherwise it uses the list that it has."""
READ_TIMEOUT = timedelta(seconds=2)
OVERLAP = timedelta(seconds=30)
"""Each read goes back this far: transactions do not commit in the order of their revocations' times, but within it."""
CLOCK_MARGIN = timedelta(minutes=10)
"""Entries are kept for so much longer than their tokens are valid, for a process whose clock is behind."""

READS = Counter("revocation_reads", "Reads of the revoked sessions.", ["outcome"])  # exposed as revocation_reads_total
READ_AT = Gauge("revocation_read_timestamp_seconds", "Time of the last successful read of the revoked sessions.")


@dataclass(frozen=True)
class Revocations:
    """The answer to a read: what has been revoked since the time that was asked for."""

    as_of: datetime
    """The time of the answer, by the clock of the users database."""
    sessions: Mapping[UUID, datetime]
    """The revoked sessions, with the time at which the last access token of each has expired."""
    withdrawn_keys: frozenset[str]
    """The ids of all withdrawn signing keys."""


RevocationSource = Callable[[datetime | None], Awaitable[Revocations]]
"""Returns what has been revoked since a time; without a time, everything that still matters."""


class RevocationList:
    """The revoked sessions and withdrawn keys that this process knows.

    While the source is unreachable, the list stays as it is: access tokens are short-lived, and refusing all of them
    would turn an outage of the users service into one of every service.
    """

    def __init__(
        self,
        source: RevocationSource,
        *,
        min_read_interval: timedelta = MIN_READ_INTERVAL,
        max_age: timedelta = MAX_AGE,
        read_timeout: timedelta = READ_TIMEOUT,
        clock_margin: timedelta = CLOCK_MARGIN,
    ) -> None:
        self._source = source
        self._min_read_interval_seconds = min_read_interval.total_seconds()
        self._max_age_seconds = max_age.total_seconds()
        self._read_timeout_seconds = read_timeout.total_seconds()
        self._clock_margin_seconds = clock_margin.total_seconds()
        self._sessions: dict[UUID, float] = {}
        self._withdrawn_keys: frozenset[str] = frozenset()
        self._as_of: datetime | None = None
        self._read_not_before = 0.0
        self._wait_from = 0.0
        self._failed = False
        self._reading: asyncio.Task[None] | None = None

    async def refresh(self) -> None:
        """Begin a read if the last one is a second old, and wait for it only if the list is too old to be used."""
        now = time.monotonic()
        if now < self._read_not_before and now < self._wait_from:
            return
        is_reading = self._reading is not None and not self._reading.done()
        if not is_reading and now >= self._read_not_before:
            # With no context: the read belongs to no request, and must not end with one.
            self._reading = asyncio.create_task(self._read(), context=contextvars.Context())
        if now >= self._wait_from and self._reading is not None:
            await asyncio.wait({self._reading})

    def is_revoked(self, session_id: UUID | None) -> bool:
        """Return whether a session has been revoked."""
        return session_id in self._sessions

    def is_withdrawn(self, key_id: str) -> bool:
        """Return whether a signing key has been withdrawn, so that its tokens are worth nothing."""
        return key_id in self._withdrawn_keys

    async def check(self) -> None:
        """Check that the last read succeeded; if it failed, try again. Raises: Unhealthy."""
        if self._failed:
            await self.refresh()
        if self._failed:
            raise Unhealthy("the revoked sessions cannot be read, so sign-outs take effect late")

    async def close(self) -> None:
        """Cancel a read that is in progress."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    async def _read(self) -> None:
        began_at = time.monotonic()
        try:
            async with asyncio.timeout(self._read_timeout_seconds):
                found = await self._source(self._as_of and self._as_of - OVERLAP)
        except Exception as error:  # noqa: BLE001 - whatever it was, tokens are verified with what is known
            READS.labels("failed").inc()
            if not self._failed:
                logger.warning("revocations_read_failed", error=describe_error(error))
            self._failed = True
            began_at = time.monotonic()  # verifications wait no more until this failure is old
        else:
            READS.labels("succeeded").inc()
            READ_AT.set_to_current_time()
            if self._failed:
                logger.info("revocations_read_recovered")
            self._failed = False
            self._add(found)
        self._read_not_before = began_at + self._min_read_interval_seconds
        self._wait_from = began_at + self._max_age_seconds

    def _add(self, found: Revocations) -> None:
        now = time.monotonic()
        for session_id, expires_at in found.sessions.items():
            seconds = (expires_at - found.as_of).total_seconds() + self._clock_margin_seconds
            # Stored anew, so that the dictionary stays in the order of the times.
            self._sessions.pop(session_id, None)
            self._sessions[session_id] = now + seconds
        while self._sessions and self._sessions[oldest := next(iter(self._sessions))] <= now:
            del self._sessions[oldest]
        self._withdrawn_keys = found.withdrawn_keys
        self._as_of = found.as_of
