"""A bounded and fair queue for the hashing of passwords, which takes a core for tens of milliseconds each time."""

import asyncio
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import Literal, TypeVar, get_args

from services.users.credentials.metrics import HASHING_REFUSED, HASHING_SECONDS, HASHING_WAITING
from shared.errors import Problem

T = TypeVar("T")
HashingUse = Literal["sign_in", "sign_up", "change"]
"""The purpose of a hash. Each has places of its own, so that a storm of one keeps the others working."""

RETRY_AFTER = timedelta(seconds=2)
"""A full queue is empty again after less."""
THREAD_NICENESS = 5
"""The lower priority of a hashing thread, where it and the event loop want a core: from 0, the same one, to 19."""


class HashingOverloaded(Problem):
    """Too many passwords are being checked at the moment."""

    status = 503
    code = "password_hashing_overloaded"

    def __init__(self) -> None:
        super().__init__(
            "Nothing was changed. Send the request again later.",
            headers={"Retry-After": str(int(RETRY_AFTER.total_seconds()))},
        )


class HashingQueue:
    """Runs work in `concurrency` threads. `max_waiting` more may wait for each use; the surplus is refused at once.

    A free thread takes the oldest of the next use that has work waiting. Work that is cancelled while it waits gives
    its place up. Once begun it can't be stopped, and keeps its thread until its end.
    """

    def __init__(self, *, concurrency: int, max_waiting: int) -> None:
        self._threads = ThreadPoolExecutor(concurrency, "password-hashing", initializer=_give_way)
        self._max_waiting = max_waiting
        self._free = concurrency
        self._waiting: dict[HashingUse, deque[asyncio.Future[None]]] = {use: deque() for use in get_args(HashingUse)}

    def check_capacity(self, use: HashingUse) -> None:
        """Raise HashingOverloaded if work could not even wait: before a request costs anything else."""
        if not self._free and len(self._waiting[use]) >= self._max_waiting:
            HASHING_REFUSED.labels(use).inc()
            raise HashingOverloaded

    async def run(self, use: HashingUse, work: Callable[[], T]) -> T:
        """Run the work in a thread, and return its result. Raises: HashingOverloaded."""
        self.check_capacity(use)
        await self._acquire(use)
        loop = asyncio.get_running_loop()
        running = self._threads.submit(_timed, work)
        # When the thread is free, which may be later than the end of a cancelled request.
        running.add_done_callback(lambda done: _call_in(loop, self._release, done))
        return await asyncio.wrap_future(running)

    async def _acquire(self, use: HashingUse) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[use].append(turn)
        HASHING_WAITING.labels(use).inc()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._release()  # cancelled in the moment after a thread became free for it
            with suppress(ValueError):
                self._waiting[use].remove(turn)
            raise
        finally:
            HASHING_WAITING.labels(use).dec()

    def _release(self) -> None:
        """Give a free thread to the next use that waits, and put that use at the end."""
        for use, waiting in list(self._waiting.items()):
            while waiting:
                turn = waiting.popleft()
                if not turn.done():
                    self._waiting[use] = self._waiting.pop(use)
                    turn.set_result(None)
                    return
        self._free += 1


def _timed(work: Callable[[], T]) -> T:
    started_at = time.perf_counter()
    try:
        return work()
    finally:
        HASHING_SECONDS.observe(time.perf_counter() - started_at)


def _call_in(loop: asyncio.AbstractEventLoop, callback: Callable[[], None], _done: Future[T]) -> None:
    with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
        loop.call_soon_threadsafe(callback)


def _give_way() -> None:
    """Lower the priority of the calling thread, where the system can do that for one thread."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), THREAD_NICENESS)
