"""Relays, notifiers, job runners and consumer groups that run until the end of a block."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.outbox.relay import Relay

STOP_TIMEOUT_SECONDS = 60


class Loop(Protocol):
    """A loop that runs until it is stopped."""

    async def run(self) -> None: ...

    def stop(self) -> None: ...


@asynccontextmanager
async def running(*loops: Loop) -> AsyncIterator[None]:
    """Run the loops; on exit stop them, and wait until they have ended."""
    tasks = [asyncio.create_task(loop.run()) for loop in loops]
    try:
        yield
    finally:
        for loop in loops:
            loop.stop()
        async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
            await asyncio.gather(*tasks)
        for loop in loops:
            if isinstance(loop, Relay):
                await loop.close()


@asynccontextmanager
async def running_consumers(consumers: ConsumerGroups) -> AsyncIterator[None]:
    """Join the consumer groups; on exit leave them."""
    await consumers.run()
    try:
        yield
    finally:
        await consumers.stop()
