"""One child process: start it, wait until it is ready, log its output, and stop it within a time limit.

Only the standard library at import: `make doctor` imports it before there is a .venv.
"""

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
"""The option of prctl(2) that asks for a signal when the parent dies."""
MAX_LOG_BYTES = 10 * 1024 * 1024
"""A log that is larger when a process starts is rotated; one older file is kept."""
READY_POLL_SECONDS = 0.05
"""Delay between two readiness checks."""
CHUNK_BYTES = 64 * 1024
"""Maximum output that is read at once. The terminal shows at most this much of a line; the log has all of it."""
_ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    # glibc would keep memory for each thread that has ever allocated; no process here allocates on many at once.
    "MALLOC_ARENA_MAX": "1",
    # glibc's default, which it no longer raises then. It would after the first 19 MiB of a password's hash were freed,
    # and keep such blocks from then on. The image sets it, too.
    "MALLOC_TRIM_THRESHOLD_": "131072",
}
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None

Echo = Callable[[str, str], None]
"""Takes the program's name and one line of its output."""


class LocalError(Exception):
    """The local system failed in a way that the user can correct; the message says how."""


class StartFailed(LocalError):
    """A process exited before it was ready, or was not ready in time."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A command to run, and how to find out that it is ready."""

    name: str
    command: Sequence[str | Path]
    ready: Callable[[], Awaitable[bool]]
    address: str
    """The address for users. `make status` shows it."""
    notes: str = ""
    """A remark about the address, such as the paths to open. `make status` shows it."""
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    """The operating system's user to run as; None for the current one."""
    working_folder: Path | None = None
    echo: re.Pattern[str] | None = None
    """Lines of output that match are shown on the terminal; all lines go to the log."""
    ready_timeout_seconds: float = 30
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_seconds: float = 10
    orphan_signal: signal.Signals = signal.SIGKILL
    """The kernel (Linux) sends it when the parent process dies, so that no child outlives it."""


class Process:
    """A running program. It leads a process group of its own, so that one signal ends it and its children."""

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
        """The exit status as in `subprocess`: negative for a signal, None while the process runs."""
        return self._child.returncode

    async def wait(self) -> int:
        """Wait until the process exits, kill what is left of its group, and return its exit status."""
        status = await self._child.wait()
        _signal_group(self.pid, signal.SIGKILL)
        # A grandchild that left the group may keep the pipe open. Not `wait_for`, which on Python 3.11 ignores a
        # cancellation that comes when the result does: the supervisor, which stops, would start the process again.
        await asyncio.wait([self._reading], timeout=1)
        return status

    async def wait_until_ready(self) -> None:
        """Wait until the program is ready. Raises: StartFailed, with the last lines of its output."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.program.ready_timeout_seconds
        while not await self.program.ready():
            if self.exit_status is not None:
                await self.wait()
                raise StartFailed(self._with_last_lines(f"{self.program.name} {describe_exit(self.exit_status)}"))
            if loop.time() > deadline:
                seconds = self.program.ready_timeout_seconds
                raise StartFailed(self._with_last_lines(f"{self.program.name} was not ready after {seconds:g} s"))
            await asyncio.sleep(READY_POLL_SECONDS)
        self._is_ready = True

    async def stop(self) -> bool:
        """Send the stop signal, and kill the group after the timeout. Return False if it had to be killed."""
        if self.exit_status is None:
            with suppress(ProcessLookupError):
                self._child.send_signal(self.program.stop_signal)
        try:
            async with asyncio.timeout(self.program.stop_timeout_seconds):
                await self._child.wait()
            in_time = True
        except TimeoutError:
            _signal_group(self.pid, signal.SIGKILL)
            in_time = False
        await self.wait()
        self._reading.cancel()
        return in_time

    def kill(self) -> None:
        """Kill the process and everything in its group."""
        if self.exit_status is None:
            _signal_group(self.pid, signal.SIGKILL)

    def _with_last_lines(self, text: str) -> str:
        return "\n".join([f"{text}; see {self._log}", *(f"    {line}" for line in self._last_lines)])

    async def _read_output(self, output: asyncio.StreamReader) -> None:
        rest = b""
        with self._log.open("ab") as log:
            # In chunks: `readline` fails on a long line, and a child whose output nobody reads would block.
            while chunk := await output.read(CHUNK_BYTES):
                log.write(chunk)
                log.flush()
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._show(line.decode(errors="replace").rstrip())
                rest = rest[-CHUNK_BYTES:]

    def _show(self, line: str) -> None:
        self._last_lines.append(line)
        # While they start, servers warn about what is over once they are ready.
        if self._is_ready and self.program.echo is not None and self.program.echo.search(line):
            self._echo(self.program.name, line)


async def start_process(program: Program, *, log: Path, echo: Echo) -> Process:
    """Start a program without waiting until it is ready."""
    child = await _spawn(
        program.command,
        program.environment,
        user=program.user,
        orphan_signal=program.orphan_signal,
        working_folder=program.working_folder,
        log=log,
    )
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
    """Run a command and wait until it exits. Its output goes to `log`, or its standard output to `output_to`.

    Raises: LocalError if it fails or does not exit in time.
    """
    with (output_to or Path(os.devnull)).open("wb") as file:
        stdout = asyncio.subprocess.PIPE if output_to is None else file
        child = await _spawn(
            command, environment or {}, user=user, orphan_signal=signal.SIGKILL, log=log, stdout=stdout
        )
        try:
            async with asyncio.timeout(timeout_seconds):
                printed = b"".join(filter(None, await child.communicate()))
        except (TimeoutError, asyncio.CancelledError) as error:
            _signal_group(child.pid, signal.SIGKILL)
            await child.wait()
            if isinstance(error, TimeoutError):
                raise LocalError(f"{command[0]} did not exit within {timeout_seconds:g} s; see {log}") from None
            raise
    with log.open("ab") as kept:
        kept.write(printed)
    if child.returncode:
        shown = " ".join(Path(part).name if isinstance(part, Path) else part for part in command[:4])
        tail = "\n".join(f"    {line}" for line in printed.decode(errors="replace").splitlines()[-15:])
        raise LocalError(f"{shown} {describe_exit(child.returncode)}; see {log}\n{tail}")


def describe_exit(status: int) -> str:
    """Return an exit status in words."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"exited with status {status}"


async def _spawn(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    *,
    user: str | None,
    orphan_signal: signal.Signals,
    log: Path,
    working_folder: Path | None = None,
    stdout: int | IO[bytes] = asyncio.subprocess.PIPE,
) -> asyncio.subprocess.Process:
    _rotate(log)
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.STDOUT if stdout == asyncio.subprocess.PIPE else asyncio.subprocess.PIPE,
        env={**os.environ, **_ENVIRONMENT, **environment},
        # In a session of its own: Ctrl-C reaches the supervisor only, which then stops everything in order.
        start_new_session=True,
        preexec_fn=signal_when_orphaned(orphan_signal, parent=os.getpid()),
        cwd=working_folder,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )


def signal_when_orphaned(orphan_signal: signal.Signals, *, parent: int) -> Callable[[], None] | None:
    """Return what a process calls to get `orphan_signal` when its parent dies; None without Linux.

    It has to be called after a change of user, which makes the kernel forget it.
    """
    libc = _LIBC
    if libc is None:
        return None

    def ask_the_kernel() -> None:
        libc.prctl(PR_SET_PDEATHSIG, orphan_signal)
        if os.getppid() != parent:
            # The parent died between fork and prctl, so the kernel will send nothing.
            os.kill(os.getpid(), signal.SIGKILL)

    return ask_the_kernel


def _rotate(log: Path) -> None:
    """Rename a log that has become too large, and make its folder."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
