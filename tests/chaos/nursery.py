"""Starts workers by forking a process that has imported them, and waits for them without blocking."""

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from typing import TypeVar

import psutil

from tests.chaos import worker
from tests.chaos.worker import Plan

POLL_SECONDS = 0.02
STOP_SECONDS = 25.0

T = TypeVar("T")

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.chaos.worker", "tests.chaos.mailer"])


class Forked:
    """A process that runs `main(argument)`."""

    def __init__(self, main: Callable[[T], None], argument: T) -> None:
        self._process = _context.Process(target=main, args=(argument,), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """Real, and a kill -9 of it too."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    @property
    def exit_status(self) -> int | None:
        """As in subprocess: negative for a signal, None while it runs."""
        return self._process.exitcode

    async def ended(self, *, within_seconds: float) -> bool:
        """Wait for its end."""
        return await _until(lambda: not self.is_alive, within_seconds)

    async def suspended(self, *, within_seconds: float) -> bool:
        """Wait until SIGSTOP, its own or another's, has reached it."""
        return await _until(lambda: psutil.Process(self.pid).status() == psutil.STATUS_STOPPED, within_seconds)

    def resume(self) -> None:
        """Let a suspended one go on."""
        os.kill(self.pid, signal.SIGCONT)

    async def stop(self) -> None:
        """Ask it to end; kill it if it does not."""
        if self.is_alive:
            os.kill(self.pid, signal.SIGTERM)
        if not await self.ended(within_seconds=STOP_SECONDS):
            os.kill(self.pid, signal.SIGKILL)
            await self.ended(within_seconds=STOP_SECONDS)
        self._process.join()
        self._process.close()


class Worker(Forked):
    """A worker's process."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(worker.main, plan)
        self.plan = plan

    async def rested(self, *, within_seconds: float) -> bool:
        """Wait until its writer has carried out all operations."""
        return await _until(self.plan.rested.exists, within_seconds)


async def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Processes and files tell nobody when they change."""
    deadline = time.monotonic() + seconds
    while not (holds := condition()) and time.monotonic() < deadline:  # noqa: ASYNC110 - as the line above says
        await asyncio.sleep(POLL_SECONDS)
    return holds
