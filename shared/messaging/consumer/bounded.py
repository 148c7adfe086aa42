"""A time limit for calls of aiokafka that ignore their cancellation."""

import asyncio
from collections.abc import Coroutine
from typing import Any

_abandoned = set[asyncio.Task[None]]()
"""The event loop keeps only weak references to tasks."""


async def bounded(work: Coroutine[Any, Any, None], *, seconds: float) -> None:
    """Await `work`, and abandon it if it takes too long. Raises: TimeoutError, and what it raises.

    `asyncio.timeout` would wait on: `close` of aiokafka's fetcher and client suppress the cancellation, and wait again.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise TimeoutError
        task.result()
    finally:
        if not task.done():
            task.cancel()
            _abandoned.add(task)
            task.add_done_callback(_ended)


def _ended(task: asyncio.Task[None]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # nobody else asks for it, which asyncio would log
