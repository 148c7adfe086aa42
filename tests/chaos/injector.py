"""Injects faults into something by a seeded choice, and counts them."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import asyncpg

T = TypeVar("T")


@dataclass
class Injector(Generic[T]):
    """`target` is what the faults hurt; each of them does so once."""

    target: T
    faults: "Mapping[str, Fault[T]]"
    rng: random.Random
    every_seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    _stopped: set[asyncio.Task[None]] = field(default_factory=set)
    _injecting: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Inject from now on."""
        if self.faults:
            self._injecting = asyncio.create_task(self._run())

    async def end(self) -> None:
        """Inject no more, and wait until what was stopped goes on."""
        if self._injecting is not None:
            self._injecting.cancel()
            await asyncio.gather(self._injecting, return_exceptions=True)
        await asyncio.gather(*self._stopped)

    def stop_for_a_while(self, pid: int, seconds: float) -> None:
        """SIGSTOP, and SIGCONT when the time is over."""

        async def stop() -> None:
            # Another fault may have ended it, before or meanwhile.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(seconds)
                os.kill(pid, signal.SIGCONT)

        task = asyncio.create_task(stop())
        self._stopped.add(task)
        task.add_done_callback(self._stopped.discard)

    async def _run(self) -> None:
        names = list(self.faults)
        while True:
            await asyncio.sleep(self.rng.expovariate(1 / self.every_seconds))
            name = self.rng.choice(names)
            # What is hurt already can't be asked who leads, nor be told to hurt itself.
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self.faults[name](self)
                self.counts[name] += 1


Fault = Callable[[Injector[T]], Awaitable[None]]
