"""Keeps processes running: restarts what dies, with back-off, and stops all in order."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.process import Echo, Process, Program, StartFailed, describe_exit, start_process

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class BackOff:
    """Waits between a process's end and its next start, in seconds: doubling, and forgotten once it stays up."""

    first: float = 0.5
    longest: float = 10
    forgotten_after: float = 30


@dataclass(kw_only=True)
class Child:
    """A program and the process that runs it at present."""

    program: Program
    process: Process
    restarts: int = 0
    started: float = field(default_factory=time.monotonic)
    keeper: asyncio.Task[None] | None = None


class Supervisor:
    """Owns the processes of a system. `on_change` is called when one has started, restarted or stopped."""

    def __init__(
        self, *, logs: Path, report: Report, echo: Echo, on_change: Callable[[], None], back_off: BackOff | None = None
    ) -> None:
        self.children: dict[str, Child] = {}
        self._logs = logs
        self._report = report
        self._echo = echo
        self._on_change = on_change
        self._back_off = back_off or BackOff()
        self._stopping = False

    async def start(self, program: Program) -> None:
        """Start it, wait until it is ready, and keep it running. Raises: StartFailed."""
        child = Child(program=program, process=await self._start_process(program))
        self.children[program.name] = child
        await child.process.wait_until_ready()
        child.keeper = asyncio.create_task(self._keep_running(child))
        self._on_change()

    async def stop(self, order: Iterable[Sequence[str]]) -> None:
        """Stop the named ones, group after group, then whatever is left. From now on nothing is restarted."""
        self._stopping = True
        for child in self.children.values():
            if child.keeper is not None:
                child.keeper.cancel()
        for names in [*order, list(self.children)]:
            await asyncio.gather(*(self._stop(name) for name in names if name in self.children))

    async def _stop(self, name: str) -> None:
        child = self.children.pop(name)
        if child.keeper is not None:
            with suppress(asyncio.CancelledError):
                await child.keeper
        if not await child.process.stop():
            self._report(f"{name} did not stop within {child.program.stop_timeout_seconds:.0f} s and was killed")

    async def _start_process(self, program: Program) -> Process:
        return await start_process(program, log=self._logs / f"{program.name}.log", echo=self._echo)

    async def _keep_running(self, child: Child) -> None:
        wait = self._back_off.first
        while True:
            status = await child.process.wait()
            if time.monotonic() - child.started >= self._back_off.forgotten_after:
                wait = self._back_off.first
            name = child.program.name
            self._report(f"{name} {describe_exit(status)}; it starts again in {wait:.1f} s")
            await asyncio.sleep(wait)
            wait = min(wait * 2, self._back_off.longest)
            child.process = await self._start_process(child.program)
            child.started = time.monotonic()
            child.restarts += 1
            try:
                await child.process.wait_until_ready()
            except StartFailed as failure:
                self._report(str(failure))
                await child.process.stop()
            else:
                self._report(f"{name} is ready again")
            self._on_change()
