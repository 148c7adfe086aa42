"""Processes forked from one that has imported their modules: each starts in milliseconds, and kill -9 is a real one."""

import asyncio
import ctypes
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from unittest import mock

import psutil
import structlog

from tests.chaos.failpoints import arm

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.02
STOP_TIMEOUT_SECONDS = 25.0

T = TypeVar("T")

_context = multiprocessing.get_context("forkserver")
_preloaded: list[str] = []


def preload(*modules: str) -> None:
    """Have these modules too imported by the process that all others are forked from, before the first fork."""
    _preloaded.extend(modules)
    _context.set_forkserver_preload(_preloaded)


def set_up_process(*, log: Path, seed: int = 0, failpoint_specification: str = "") -> None:
    """Set up a forked process: it ends with its parent, and has a log, a random seed and failpoints of its own."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
    )
    random.seed(seed)
    arm(failpoint_specification)


class ForkedProcess:
    """A process that runs `main(argument)`."""

    def __init__(self, main: Callable[[T], None], argument: T) -> None:
        self._process = _context.Process(target=main, args=(argument,), daemon=True)
        # The first start also starts the process that all are forked from. What they run would be traced for nothing:
        # most of them are killed, and none of them writes what it has traced.
        with mock.patch.dict(os.environ):
            os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
            self._process.start()

    @property
    def pid(self) -> int:
        """The id of the forked process itself."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Return whether it has not exited yet; a suspended process is alive."""
        return self._process.is_alive()

    @property
    def exit_status(self) -> int | None:
        """The exit status as in subprocess: negative for a signal, None while it runs."""
        return self._process.exitcode

    async def exits_within(self, seconds: float) -> bool:
        """Wait until it has exited; return False if it is still alive after `seconds`."""
        return await becomes_true(lambda: not self.is_alive, seconds)

    async def is_suspended_within(self, seconds: float) -> bool:
        """Wait until a SIGSTOP has suspended it; return False if none has after `seconds`."""
        return await becomes_true(lambda: psutil.Process(self.pid).status() == psutil.STATUS_STOPPED, seconds)

    def resume(self) -> None:
        """Continue it after a SIGSTOP."""
        os.kill(self.pid, signal.SIGCONT)

    async def stop(self) -> None:
        """Send SIGTERM, and SIGKILL if it does not exit in time."""
        if self.is_alive:
            os.kill(self.pid, signal.SIGTERM)
        if not await self.exits_within(STOP_TIMEOUT_SECONDS):
            os.kill(self.pid, signal.SIGKILL)
            await self.exits_within(STOP_TIMEOUT_SECONDS)
        self._process.join()
        self._process.close()


async def becomes_true(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition is true; return False if it is not after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < deadline:  # noqa: ASYNC110 - processes and files send no events
        await asyncio.sleep(POLL_SECONDS)
    return holds
