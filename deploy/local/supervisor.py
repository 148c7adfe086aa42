"""Keep processes running: restart those that exit, with backoff, and stop all of them in order."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from deploy.local.lifecycle import Lifecycle, State
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
    lifecycle: Lifecycle
    restarts: int = 0
    started_at: float = field(default_factory=time.monotonic)
    watch: asyncio.Task[None] | None = None
    continuing: asyncio.TimerHandle | None = None
    """Ends a suspension."""
    was_killed_here: bool = False
    """Whether `kill` ends its process, which says nothing about the program."""


class Supervisor:
    """Owns the processes of a system. Calls `on_change` when one has started, restarted or stopped."""

    def __init__(
        self, *, logs: Path, report: Report, echo: Echo, on_change: Callable[[], None], backoff: Backoff | None = None
    ) -> None:
        self.children: dict[str, Child] = {}
        """The programs that run, or are being restarted."""
        self.lifecycles: dict[str, Lifecycle] = {}
        """All programs that were started once, in the order in which they were."""
        self._logs = logs
        self._report = report
        self._echo = echo
        self._on_change = on_change
        self._backoff = backoff or Backoff()

    async def start(self, program: Program, *, instead_of: Program | None = None) -> None:
        """Start a program, wait until it is ready, and keep it running. Raises: StartFailed.

        `instead_of`: the program that a later start of this name starts, if this one is a variant of it.
        """
        lifecycle = self.lifecycles.setdefault(program.name, Lifecycle(program=program))
        lifecycle.program, lifecycle.state = instead_of or program, State.STARTING
        child = Child(program=program, process=await self._start_process(program), lifecycle=lifecycle)
        self.children[program.name] = child
        lifecycle.started(child.process.pid)
        try:
            await child.process.wait_until_ready()
        except StartFailed as failure:
            lifecycle.note("failed", str(failure).splitlines()[0])
            await self._stop(program.name)
            raise
        lifecycle.note("ready", "is ready", state=State.READY)
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

    def kill(self, name: str) -> int:
        """Kill a process, which is then restarted like any that ends; return the pid that it had."""
        child = self.children[name]
        # PostgreSQL's children notice the death of their parent only if they run.
        self._continue(child)
        child.was_killed_here = True
        child.process.kill()
        return child.process.pid

    def suspend(self, name: str, *, seconds: float) -> None:
        """Suspend a process and its children for some time. Repeating it moves the end."""
        child = self.children[name]
        if child.continuing is not None:
            child.continuing.cancel()
        _signal_tree(child.process, signal.SIGSTOP)
        child.lifecycle.note("suspended", f"suspended for {seconds:g} s", state=State.SUSPENDED)
        child.lifecycle.suspended_until = datetime.now(UTC) + timedelta(seconds=seconds)
        child.continuing = asyncio.get_running_loop().call_later(seconds, self._continue, child)

    def resume(self, name: str) -> None:
        """Let a suspended process continue. Does nothing to others."""
        self._continue(self.children[name])

    def _continue(self, child: Child) -> None:
        if child.continuing is None:
            return
        child.continuing.cancel()
        child.continuing = None
        _signal_tree(child.process, signal.SIGCONT)
        if child.lifecycle.state is State.SUSPENDED:
            child.lifecycle.note("resumed", "continues", state=State.READY)

    def log_of(self, name: str) -> Path:
        """Return the log file of a program."""
        return self._logs / f"{name}.log"

    def remove(self, name: str) -> None:
        """Remove a program that is stopped, and will not be started again."""
        if name not in self.children:
            self.lifecycles.pop(name, None)

    async def _stop(self, name: str) -> None:
        child = self.children.pop(name)
        self._continue(child)
        child.lifecycle.note("stopping", "is being stopped", state=State.STOPPING)
        if child.watch is not None:
            with suppress(asyncio.CancelledError):
                await child.watch
        if not await child.process.stop():
            self._report(f"{name} did not stop within {child.program.stop_timeout_seconds:g} s and was killed")
        _ended(child, State.STOPPED)

    async def _start_process(self, program: Program) -> Process:
        return await start_process(program, log=self.log_of(program.name), echo=self._echo)

    async def _keep_running(self, child: Child) -> None:
        delay_seconds, lifecycle = self._backoff.initial_seconds, child.lifecycle
        while True:
            status = await child.process.wait()
            if child.continuing is not None:
                child.continuing.cancel()
                child.continuing = None
            _ended(child, State.RESTARTING)
            if child.was_killed_here or time.monotonic() - child.started_at >= self._backoff.reset_after_seconds:
                delay_seconds = self._backoff.initial_seconds
            child.was_killed_here = False
            name = child.program.name
            self._report(f"{name} {describe_exit(status)}; restarting it in {delay_seconds:.1f} s")
            await asyncio.sleep(delay_seconds)
            delay_seconds = min(delay_seconds * 2, self._backoff.max_seconds)
            child.process = await self._start_process(child.program)
            child.started_at = time.monotonic()
            child.restarts += 1
            lifecycle.restarts += 1
            lifecycle.started(child.process.pid)
            try:
                await child.process.wait_until_ready()
            except StartFailed as failure:
                self._report(str(failure))
                lifecycle.note("failed", str(failure).splitlines()[0])
                await child.process.stop()
            else:
                self._report(f"{name} is ready again")
                lifecycle.note("ready", "is ready again", state=State.READY)
            self._on_change()


def _ended(child: Child, state: State) -> None:
    """Note how a child's process ended, unless that was noted before."""
    status = child.process.exit_status
    if child.lifecycle.started_at is not None and status is not None:
        child.lifecycle.ended(describe_exit(status), was_killed=status < 0, state=state)
    if state is State.STOPPED:
        child.lifecycle.note("stopped", "is stopped", state=state)


def _signal_tree(process: Process, number: signal.Signals) -> None:
    """Send a signal to a process and its descendants. PostgreSQL's are not in the process's group."""
    if process.exit_status is not None:
        return
    with suppress(psutil.Error):
        parent = psutil.Process(process.pid)
        for member in (parent, *parent.children(recursive=True)):
            with suppress(psutil.Error):
                member.send_signal(number)
