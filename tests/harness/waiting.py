"""Waiting for a condition with a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable


async def until(
    condition: Callable[[], Awaitable[bool]],
    *,
    seconds: float = 60,
    what: str = "the condition",
    poll_seconds: float = 0.02,
) -> None:
    """Wait until the condition holds; `what` describes it. Raises: AssertionError after the deadline."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not true within {seconds} s: {what}"
        await asyncio.sleep(poll_seconds)
