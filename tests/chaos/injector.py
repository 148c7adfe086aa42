"""Injects faults into a target at random intervals, reproducible by a seed, and counts them."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import asyncpg

T = TypeVar("T")


class FaultImpossible(Exception):
    """The fault cannot be injected on this machine."""


@dataclass
class Injector(Generic[T]):
    """Injects one of `faults` into `target` every `mean_interval_seconds` on average."""

    target: T
    faults: "Mapping[str, Fault[T]]"
    rng: random.Random
    mean_interval_seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    """The count of each fault that was injected."""
    effects: Counter[str] = field(default_factory=Counter)
    """The counts of what the faults have caused, as far as they know it."""
    _lasting: set[asyncio.Task[None]] = field(default_factory=set)
    """The faults that last, until they have ended or are undone."""
    _injecting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to inject faults."""
        if self.faults:
            self._injecting = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Inject no more, and wait until every fault that lasts has ended or was undone."""
        if self._injecting is not None:
            self._injecting.cancel()
            await asyncio.gather(self._injecting, return_exceptions=True)
        await asyncio.gather(*self._lasting)

    def suspend(self, pid: int, *, seconds: float) -> None:
        """Send SIGSTOP now, and SIGCONT after `seconds`."""

        async def suspend_and_resume() -> None:
            # Another fault may kill the process before or meanwhile.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(seconds)
                os.kill(pid, signal.SIGCONT)

        self.run_beside(suspend_and_resume())

    def undo_later(self, undo: Callable[[], None], *, seconds: float) -> None:
        """Undo a fault after `seconds`."""

        async def wait_and_undo() -> None:
            await asyncio.sleep(seconds)
            undo()

        self.run_beside(wait_and_undo())

    def run_beside(self, lasting: Coroutine[Any, Any, None]) -> None:
        """Run a fault that lasts, while others are injected. `stop` waits for it and raises its error."""
        task = asyncio.create_task(lasting)
        self._lasting.add(task)
        task.add_done_callback(self._lasting.discard)

    async def _run(self) -> None:
        names = list(self.faults)
        while names:
            await asyncio.sleep(self.rng.expovariate(1 / self.mean_interval_seconds))
            name = self.rng.choice(names)
            try:
                await self.faults[name](self)
            except FaultImpossible:
                names.remove(name)
                self.counts[f"{name}, impossible here"] += 1
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                # A server that is down from an earlier fault cannot be asked who leads, nor be broken again.
                continue
            else:
                self.counts[name] += 1


Fault = Callable[[Injector[T]], Awaitable[None]]


def named(faults: Iterable[Fault[T]]) -> dict[str, Fault[T]]:
    """Return the faults by the names that the command line takes."""
    return {fault.__name__.replace("_", "-"): fault for fault in faults}
