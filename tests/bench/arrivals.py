"""Arrival times, and starting work at its time whether or not earlier work has ended."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from itertools import accumulate, takewhile
from typing import Any, TypeVar

T = TypeVar("T")


def arrival_times(seed: str, *, per_second: float, seconds: float) -> list[float]:
    """Return the arrival times of a Poisson process, in seconds from its beginning."""
    rng = random.Random(seed)  # noqa: S311 - reproducible by its seed
    gaps = iter(lambda: rng.expovariate(per_second), None)
    return list(takewhile(lambda at: at < seconds, accumulate(gaps)))


async def start_each_at(starts: Iterable[tuple[float, Callable[[], Coroutine[Any, Any, T]]]]) -> list[T]:
    """Start each at its time, in seconds from now and ascending; return their results in the same order."""
    begun = time.monotonic()
    tasks: list[asyncio.Task[T]] = []
    async with asyncio.TaskGroup() as group:
        for at, start in starts:
            if (wait := begun + at - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            tasks.append(group.create_task(start()))
    return [task.result() for task in tasks]
