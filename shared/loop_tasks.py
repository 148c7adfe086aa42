"""Tasks that run the loops of a process: started again after an error, and awaited for a bounded time as it stops."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from shared.heartbeat import Heartbeat

logger = structlog.get_logger(__name__)

RESTART_DELAY_SECONDS = 1.0
"""Delay before a loop that has failed is started again."""
STOP_TIMEOUT_SECONDS = 10.0
"""Time for a loop to stop before it is cancelled."""


def start(heartbeat: Heartbeat, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    """Start a task that runs a loop, and starts it again after an error."""
    return asyncio.create_task(keep_running(heartbeat, run))


async def keep_running(
    heartbeat: Heartbeat, run: Callable[[], Awaitable[None]], *, restart_delay_seconds: float = RESTART_DELAY_SECONDS
) -> None:
    """Run a loop until it returns; start it again after an error."""
    while True:
        try:
            await run()
        except Exception:
            logger.exception("loop_failed", loop=heartbeat.loop)
            heartbeat.failed()
            await asyncio.sleep(restart_delay_seconds)
        else:
            return


async def wait_for(task: asyncio.Task[None] | None, *, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> None:
    """Wait until a loop has ended; cancel it after the time-out."""
    if task is None:
        return
    _, pending = await asyncio.wait({task}, timeout=timeout_seconds)
    for late in pending:
        logger.warning("loop_cancelled")
        late.cancel()
