"""Telling the relay in another process that something was committed, by NOTIFY on a connection of its own.

NOTIFY inside the business transaction would serialize the commits of the whole database. A wake-up that is lost
costs one poll interval, so nothing here is waited for and no fault is more than logged.
"""

import asyncio

import asyncpg
import structlog

from shared.transient_errors import CONNECTION_ERRORS

logger = structlog.get_logger(__name__)

CHANNEL = "orderly_outbox"
MIN_INTERVAL_SECONDS = 0.02
RECONNECT_DELAY_SECONDS = 1.0


class Notifier:
    """Sends at most 50 wake-ups a second, however many commits there are."""

    def __init__(self, *, dsn: str) -> None:
        self._dsn = dsn
        self._due = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Something was committed."""
        self._due.set()

    def stop(self) -> None:
        """End `run`."""
        self._stopping = True
        self._due.set()

    async def run(self) -> None:
        """Work until `stop`."""
        while not self._stopping:
            try:
                connection = await asyncpg.connect(self._dsn, timeout=5, command_timeout=5)
                try:
                    await self._notify(connection)
                finally:
                    connection.terminate()
            except CONNECTION_ERRORS as error:
                logger.warning("notifier_interrupted", error=repr(error))
                await asyncio.sleep(RECONNECT_DELAY_SECONDS)

    async def _notify(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        while not self._stopping:
            await self._due.wait()
            self._due.clear()
            await connection.execute(f"NOTIFY {CHANNEL}")
            await asyncio.sleep(MIN_INTERVAL_SECONDS)
