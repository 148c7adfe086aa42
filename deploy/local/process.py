"""One child process: started, asked whether it is ready, its output kept, stopped within bounds."""

import asyncio
import ctypes
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

PR_SET_PDEATHSIG = 1
LOG_KEEP_BYTES = 10 * 1024 * 1024
READY_POLL_SECONDS = 0.05
CHUNK_BYTES = 64 * 1024
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

Echo = Callable[[str, str], None]
"""Takes the program's name and one line of its output."""


class LocalError(Exception):
    """Something of the local system that the person at the terminal can mend."""


class StartFailed(LocalError):
    """A process ended, or was not ready in time."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run and how to tell that it is ready."""

    name: str
    command: Sequence[str | Path]
    ready: Callable[[], Awaitable[bool]]
    address: str
    """Where it answers, for people."""
    look: str = ""
    """How to look into it, for people."""
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    """The operating system's user to run as, when this process is root and the program refuses to be."""
    echo: re.Pattern[str] | None = None
    """Which lines of its output people see; all of them go to its log file."""
    ready_timeout_seconds: float = 30
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_seconds: float = 10
    orphan_signal: signal.Signals = signal.SIGKILL
    """Sent by the kernel (Linux) when this process is killed, so that nothing outlives it."""


class Process:
    """A running program. Its children share its process group, so that one signal ends them all."""

    def __init__(self, program: Program, child: asyncio.subprocess.Process, *, log: Path, echo: Echo) -> None:
        self.program = program
        self.pid = child.pid
        self._child = child
        self._log = log
        self._echo = echo
        self._last_lines: deque[str] = deque(maxlen=15)
        self._is_ready = False
        self._reading = asyncio.create_task(self._read_output(cast("asyncio.StreamReader", child.stdout)))

    @property
    def exit_status(self) -> int | None:
        """As in subprocess: negative for a signal, None while it runs."""
        return self._child.returncode

    async def wait(self) -> int:
        """Wait until it has ended, end what it left of its group, and return its exit status."""
        status = await self._child.wait()
        _signal_group(self.pid, signal.SIGKILL)
        with suppress(TimeoutError):
            # A grandchild that left the group may hold the pipe open for ever.
            await asyncio.wait_for(asyncio.shield(self._reading), timeout=1)
        return status

    async def wait_until_ready(self) -> None:
        """Raises: StartFailed, with the last lines that it printed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.program.ready_timeout_seconds
        while not await self.program.ready():
            if self.exit_status is not None:
                await self.wait()
                raise StartFailed(self._with_last_lines(f"{self.program.name} {describe_exit(self.exit_status)}"))
            if loop.time() > deadline:
                seconds = self.program.ready_timeout_seconds
                raise StartFailed(self._with_last_lines(f"{self.program.name} was not ready after {seconds:.0f} s"))
            await asyncio.sleep(READY_POLL_SECONDS)
        self._is_ready = True

    async def stop(self) -> bool:
        """Ask it to end, then make it. Returns False when it had to be killed."""
        if self.exit_status is None:
            with suppress(ProcessLookupError):
                self._child.send_signal(self.program.stop_signal)
        try:
            await asyncio.wait_for(self._child.wait(), timeout=self.program.stop_timeout_seconds)
            asked = True
        except TimeoutError:
            _signal_group(self.pid, signal.SIGKILL)
            asked = False
        await self.wait()
        self._reading.cancel()
        return asked

    def kill(self) -> None:
        """End it now, with all that it started."""
        if self.exit_status is None:
            _signal_group(self.pid, signal.SIGKILL)

    def _with_last_lines(self, text: str) -> str:
        return "\n".join([f"{text}; its log is {self._log}", *(f"    {line}" for line in self._last_lines)])

    async def _read_output(self, output: asyncio.StreamReader) -> None:
        rest = b""
        with self._log.open("ab") as log:
            # In chunks: a line longer than a reader's limit must not end the reading, or the child would block.
            while chunk := await output.read(CHUNK_BYTES):
                log.write(chunk)
                log.flush()
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._show(line.decode(errors="replace").rstrip())
                rest = rest[-CHUNK_BYTES:]

    def _show(self, line: str) -> None:
        self._last_lines.append(line)
        # Before it is ready a server grumbles about things that end with its start.
        if self._is_ready and self.program.echo is not None and self.program.echo.search(line):
            self._echo(self.program.name, line)


async def start_process(program: Program, *, log: Path, echo: Echo) -> Process:
    """Start it without waiting for it to be ready."""
    child = await _spawn(program.command, program.environment, user=program.user, orphan=program.orphan_signal, log=log)
    return Process(program, child, log=log, echo=echo)


async def run_to_end(
    command: Sequence[str | Path],
    *,
    log: Path,
    output_to: Path | None = None,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
    timeout_seconds: float = 120,
) -> None:
    """Run a command that ends by itself. What it prints goes to its log, its standard output to `output_to` if given.

    Raises: LocalError when it fails.
    """
    with (output_to or Path(os.devnull)).open("wb") as file:
        stdout = asyncio.subprocess.PIPE if output_to is None else file
        child = await _spawn(command, environment or {}, user=user, orphan=signal.SIGKILL, log=log, stdout=stdout)
        try:
            printed = b"".join(filter(None, await asyncio.wait_for(child.communicate(), timeout=timeout_seconds)))
        except (TimeoutError, asyncio.CancelledError) as error:
            _signal_group(child.pid, signal.SIGKILL)
            await child.wait()
            if isinstance(error, TimeoutError):
                raise LocalError(f"{command[0]} did not end within {timeout_seconds:.0f} s; its log is {log}") from None
            raise
    with log.open("ab") as kept:
        kept.write(printed)
    if child.returncode:
        shown = " ".join(Path(part).name if isinstance(part, Path) else part for part in command[:4])
        tail = "\n".join(f"    {line}" for line in printed.decode(errors="replace").splitlines()[-15:])
        raise LocalError(f"{shown} {describe_exit(child.returncode)}; its log is {log}\n{tail}")


def describe_exit(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


async def _spawn(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    *,
    user: str | None,
    orphan: signal.Signals,
    log: Path,
    stdout: int | IO[bytes] = asyncio.subprocess.PIPE,
) -> asyncio.subprocess.Process:
    _turn_log_over(log)
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.STDOUT if stdout == asyncio.subprocess.PIPE else asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        # Its own group: Ctrl-C at the terminal reaches the supervisor alone, which then stops things in order.
        start_new_session=True,
        preexec_fn=_dies_with_parent(orphan),
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )


def _dies_with_parent(orphan: signal.Signals) -> Callable[[], None] | None:
    libc, parent = _LIBC, os.getpid()
    if libc is None:
        return None

    def ask_the_kernel() -> None:
        libc.prctl(PR_SET_PDEATHSIG, orphan)
        if os.getppid() != parent:
            # The parent died between fork and prctl: no signal will come any more.
            os.kill(os.getpid(), signal.SIGKILL)

    return ask_the_kernel


def _turn_log_over(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_KEEP_BYTES:
        log.replace(log.with_suffix(".log.1"))


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
