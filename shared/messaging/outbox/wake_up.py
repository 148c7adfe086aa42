"""Wake-ups: tell the relay, or a loop of the service, in another process about a commit, by NOTIFY.

The NOTIFY is sent on a separate connection: inside of the business transaction it would serialize the commits of the
whole database. A lost wake-up costs one poll interval, so no caller waits for it, and errors are only logged.
"""

import asyncio

import asyncpg
import structlog

from shared.connection_errors import CONNECTION_ERRORS
from shared.error_descriptions import describe_error
from shared.heartbeat import Heartbeat

logger = structlog.get_logger(__name__)

CHANNEL = "orderly_outbox"
"""Channel of the relay's wake-ups."""
MIN_INTERVAL_SECONDS = 0.003
"""Shortest time between two wake-ups. Raised, an event waits longer for a relay in another process."""
RECONNECT_DELAY_SECONDS = 1.0
HEARTBEAT_INTERVAL_SECONDS = 10.0
"""Upper bound of the wait for a commit, after which the loop gives a heartbeat and waits again."""


class Notifier:
    """Sends wake-ups; those of commits that come in quick succession are merged into one."""

    def __init__(self, *, dsn: str, reconnect_delay_seconds: float = RECONNECT_DELAY_SECONDS) -> None:
        self._dsn = dsn
        self._reconnect_delay_seconds = reconnect_delay_seconds
        self._due = asyncio.Event()
        self._channels: set[str] = set()
        self._stopping = False
        self.heartbeat = Heartbeat("notifier")

    def wake(self, channel: str = CHANNEL) -> None:
        """Send a wake-up soon, by default to the relay."""
        self._channels.add(channel)
        self._due.set()

    def stop(self) -> None:
        """End `run`."""
        self._stopping = True
        self._due.set()

    async def run(self) -> None:
        """Send wake-ups until `stop`."""
        while not self._stopping:
            self.heartbeat.beat()
            try:
                connection = await asyncpg.connect(self._dsn, timeout=5, command_timeout=5)
                try:
                    await self._notify(connection)
                finally:
                    connection.terminate()
            except CONNECTION_ERRORS as error:
                logger.warning("notifier_interrupted", error=describe_error(error))
                self.heartbeat.failed()
                await asyncio.sleep(self._reconnect_delay_seconds)

    async def _notify(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        while not self._stopping:
            self.heartbeat.succeeded()
            await self._wait_for_commit()
            self._due.clear()
            channels, self._channels = self._channels, set()
            if channels:
                await connection.execute("; ".join(f"NOTIFY {channel}" for channel in channels))
            await asyncio.sleep(MIN_INTERVAL_SECONDS)

    async def _wait_for_commit(self) -> None:
        try:
            async with asyncio.timeout(HEARTBEAT_INTERVAL_SECONDS):
                await self._due.wait()
        except TimeoutError:
            return
