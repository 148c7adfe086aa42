"""Passing received traces on to a store that keeps them for longer, such as Jaeger or Tempo."""

import asyncio

import httpx2
import structlog

logger = structlog.get_logger(__name__)

MAX_WAITING = 100
"""Bodies that wait to be passed on, of at most 4 MiB each. More are dropped: the console has them anyway."""
TIMEOUT_SECONDS = 5.0
MEDIA_TYPE = "application/x-protobuf"


class Forwarder:
    """Passes the bodies of export requests on, in their order. Run it in a task; cancelling it drops what waits."""

    def __init__(self, endpoint: str) -> None:
        """Prepare to send to an OTLP/HTTP endpoint, such as http://jaeger:4318."""
        self._url = f"{endpoint.rstrip('/')}/v1/traces"
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(MAX_WAITING)
        self._is_failing = False

    def forward(self, body: bytes) -> None:
        """Take a body, decompressed, to be sent. It is dropped if too many wait."""
        if not self._waiting.full():
            self._waiting.put_nowait(body)

    async def run(self) -> None:
        """Send what is queued until the task is cancelled."""
        async with httpx2.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
            while True:
                body = await self._waiting.get()
                try:
                    response = await client.post(self._url, content=body, headers={"Content-Type": MEDIA_TYPE})
                    reason = None if response.is_success else f"status {response.status_code}"
                except httpx2.TransportError as error:
                    reason = type(error).__name__
                self._report(reason)

    def _report(self, reason: str | None) -> None:
        """Log when it begins to fail, and when it works again."""
        if reason is not None and not self._is_failing:
            logger.warning("traces_not_forwarded", url=self._url, reason=reason)
        elif reason is None and self._is_failing:
            logger.info("traces_forwarded_again", url=self._url)
        self._is_failing = reason is not None
