"""Keep processes running: restart those that exit, with backoff, and stop all of them in order."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.process import Echo, Process, Program, StartFailed, describe_exit, start_process

Report = Callable[[str], None]
"""Takes one sentence for the user."""


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Delays between a process's exit and its restart; each is twice the last one."""

    initial_seconds: float = 0.5
    max_seconds: float = 10
    reset_after_seconds: float = 30
    """A process that ran for this long starts with the initial delay again."""


@dataclass(kw_only=True)
class Child:
    """A program, and the process that runs it at present."""

    program: Program
    process: Process
    restarts: int = 0
    started_at: float = field(default_factory=time.monotonic)
    watch: asyncio.Task[None] | None = None


class Supervisor:
    """Owns the processes of a system. Calls `on_change` when one has started or restarted."""

    def __init__(
        self, *, logs: Path, report: Report, echo: Echo, on_change: Callable[[], None], backoff: Backoff | None = None
    ) -> None:
        self.children: dict[str, Child] = {}
        self._logs = logs
        self._report = report
        self._echo = echo
        self._on_change = on_change
        self._backoff = backoff or Backoff()

    async def start(self, program: Program) -> None:
        """Start a program, wait until it is ready, and keep it running. Raises: StartFailed."""
        child = Child(program=program, process=await self._start_process(program))
        self.children[program.name] = child
        await child.process.wait_until_ready()
        child.watch = asyncio.create_task(self._keep_running(child))
        self._on_change()

    async def stop_one(self, name: str, *, kill: bool = False) -> None:
        """Stop one process, or kill it without a stop signal; the others keep running."""
        child = self.children[name]
        if child.watch is not None:
            child.watch.cancel()
        if kill:
            child.process.kill()
            # A signal to a process that has exited would let `subprocess` take its exit status away from asyncio.
            await child.process.wait()
        await self._stop(name)
        self._on_change()

    async def stop(self, order: Iterable[Sequence[str]]) -> None:
        """Stop the named processes, group after group, then all others. From now on nothing is restarted."""
        for child in self.children.values():
            if child.watch is not None:
                child.watch.cancel()
        for names in [*order, list(self.children)]:
            await asyncio.gather(*(self._stop(name) for name in names if name in self.children))

    async def _stop(self, name: str) -> None:
        child = self.children.pop(name)
        if child.watch is not None:
            with suppress(asyncio.CancelledError):
                await child.watch
        if not await child.process.stop():
            self._report(f"{name} did not stop within {child.program.stop_timeout_seconds:g} s and was killed")

    async def _start_process(self, program: Program) -> Process:
        return await start_process(program, log=self._logs / f"{program.name}.log", echo=self._echo)

    async def _keep_running(self, child: Child) -> None:
        delay_seconds = self._backoff.initial_seconds
        while True:
            status = await child.process.wait()
            if time.monotonic() - child.started_at >= self._backoff.reset_after_seconds:
                delay_seconds = self._backoff.initial_seconds
            name = child.program.name
            self._report(f"{name} {describe_exit(status)}; restarting it in {delay_seconds:.1f} s")
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(delay_seconds * 2, self._backoff.max_seconds)
            child.process = await self._start_process(child.program)
            child.started_at = time.monotonic()
            child.restarts += 1
            try:
                await child.process.wait_until_ready()
            except StartFailed as failure:
                self._report(str(failure))
                await child.process.stop()
            else:
                self._report(f"{name} is ready again")
            self._on_change()
