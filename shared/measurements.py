"""Measurements of a service's database: one statement every few seconds, whose parts become metrics.

A scrape executes no statement, so that scrapers cost the database nothing. Every process measures, because every
process is scraped, and none depends on another.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog

from shared.database import Sessions
from shared.error_descriptions import describe_error
from shared.heartbeat import Heartbeat

logger = structlog.get_logger(__name__)

INTERVAL_SECONDS = 15.0
"""Delay between two measurements. Lowered, the metrics are fresher and an idle database has more to do."""
TIMEOUT_SECONDS = 5.0
"""Upper bound of a measurement. Each part reads a bounded number of rows, so it usually takes milliseconds."""
MAX_COUNTED = 10_000
"""Rows that a part counts at most. More is an outage anyway, and counting millions would make it worse."""


@dataclass(frozen=True)
class Measurement:
    """A part of the statement: a query of one row with one JSON value, and the function that takes the value.

    The query reads at most `:max_counted` rows of a table, with an index.
    """

    name: str
    query: str
    publish: Callable[[Any], None]


class Measurements:
    """The loop that measures. It also runs while the database is away, and then fails."""

    name = "measurements"

    def __init__(
        self, measurements: Sequence[Measurement], *, sessions: Sessions, interval_seconds: float = INTERVAL_SECONDS
    ) -> None:
        self.heartbeat = Heartbeat(self.name)
        self._measurements = measurements
        self._sessions = sessions
        self._interval_seconds = interval_seconds
        self._stopping = asyncio.Event()
        parts = ", ".join(f"({one.query}) AS {one.name}" for one in measurements)
        self._statement = sa.text(f"SELECT {parts}").bindparams(max_counted=MAX_COUNTED)

    def stop(self) -> None:
        """End `run`."""
        self._stopping.set()

    async def run(self) -> None:
        """Measure until `stop`."""
        while not self._stopping.is_set():
            try:
                await self.measure()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next one may succeed
                logger.warning("measurement_failed", error=describe_error(error))
                self.heartbeat.failed()
            else:
                self.heartbeat.succeeded()
            try:
                async with asyncio.timeout(self._interval_seconds):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def measure(self) -> None:
        """Measure once. Raises: errors of the database, TimeoutError."""
        async with asyncio.timeout(TIMEOUT_SECONDS), self._sessions() as session:
            row = (await session.execute(self._statement)).one()
        for one, value in zip(self._measurements, row, strict=True):
            one.publish(value)
