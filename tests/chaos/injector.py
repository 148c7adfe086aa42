"""Injects faults into a target at random intervals, reproducible by a seed, and counts them."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import asyncpg

from shared.connection_errors import CONNECTION_ERRORS

T = TypeVar("T")


class FaultImpossible(Exception):
    """The fault cannot be injected on this machine."""


@dataclass
class InjectedFault:
    """One fault that was injected. Times are those of the monotonic clock."""

    name: str
    began: float
    ended: float | None = None
    """The end of a fault that lasts. None if it takes a moment, or lasts as long as its target needs to recover."""
    detail: str = ""
    """The target, or whatever else the fault has noted."""

    def end(self, _task: object = None) -> None:
        """Record that it has ended now."""
        self.ended = time.monotonic()


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
    log: list[InjectedFault] = field(default_factory=list)
    """Every fault that was injected, for the campaign's history."""
    _lasting: set[asyncio.Task[None]] = field(default_factory=set)
    """The faults that last, until they have ended or are undone."""
    _undoing: dict[Hashable, asyncio.Task[None]] = field(default_factory=dict)
    _errors: list[Exception] = field(default_factory=list)
    _injecting: asyncio.Task[None] | None = None
    _current: InjectedFault | None = None
    """The fault that is being injected."""

    def start(self) -> None:
        """Begin to inject faults."""
        if self.faults:
            self._injecting = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Inject no more, and wait until every fault that lasts has ended or was undone.

        Raises: ExceptionGroup of the errors that faults have raised, if no earlier fault explains them.
        """
        if self._injecting is not None:
            self._injecting.cancel()
            (outcome,) = await asyncio.gather(self._injecting, return_exceptions=True)
            self._injecting = None
            if isinstance(outcome, Exception):
                self._errors.append(outcome)
        await asyncio.gather(*self._lasting, return_exceptions=True)
        if self._errors:
            raise ExceptionGroup("faults have failed", self._errors)

    def note(self, detail: str = "", *, seconds: float = 0) -> None:
        """Note the target of the fault that is being injected, and for how long the fault lasts, if that is known."""
        if self._current is not None:
            self._current.detail = detail
            self._current.ended = self._current.began + seconds if seconds else None

    def suspend(self, pid: int, *, seconds: float) -> None:
        """Send SIGSTOP now, and SIGCONT after `seconds`."""

        async def suspend_and_resume() -> None:
            # Another fault may kill the process before or meanwhile.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(seconds)
                os.kill(pid, signal.SIGCONT)

        self.run_beside(suspend_and_resume())

    def undo_later(self, broken: Hashable, undo: Callable[[], None], *, seconds: float) -> None:
        """Undo a fault after `seconds`. `broken` is what it broke: an earlier fault of it is undone no sooner."""

        async def wait_and_undo() -> None:
            await asyncio.sleep(seconds)
            undo()

        if (earlier := self._undoing.get(broken)) is not None:
            earlier.cancel()
        self._undoing[broken] = self.run_beside(wait_and_undo())

    def run_beside(self, lasting: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a fault that lasts, while others are injected. `stop` waits for it and raises its error."""
        task = asyncio.create_task(lasting)
        self._lasting.add(task)
        task.add_done_callback(self._ended)
        if self._current is not None:
            task.add_done_callback(self._current.end)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._lasting.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self._errors.append(error)

    async def _run(self) -> None:
        names = list(self.faults)
        while names:
            await asyncio.sleep(self.rng.expovariate(1 / self.mean_interval_seconds))
            name = self.rng.choice(names)
            fault = self._current = InjectedFault(name, time.monotonic())
            try:
                await self.faults[name](self)
            except FaultImpossible:
                names.remove(name)
                self.counts[f"{name}, impossible here"] += 1
            except asyncpg.SyntaxOrAccessError:
                # A mistake of the fault itself, such as a column that does not exist.
                raise
            except CONNECTION_ERRORS as error:
                # A server that is down from an earlier fault cannot be asked who leads, nor be broken again.
                self.effects[f"{name} skipped: {type(error).__name__}"] += 1
            else:
                self.counts[name] += 1
                self.log.append(fault)


Fault = Callable[[Injector[T]], Awaitable[None]]


def named(faults: Iterable[Fault[T]]) -> dict[str, Fault[T]]:
    """Return the faults by the names that the command line takes."""
    return {fault.__name__.replace("_", "-"): fault for fault in faults}
