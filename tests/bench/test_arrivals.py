"""Arrivals by chance, and starts at their times."""

import asyncio
import time

import pytest

from tests.bench.arrivals import arrival_times, started_at


def test_arrivals_are_the_same_for_the_same_seed_and_as_many_as_asked() -> None:
    times = arrival_times("round 1", per_second=50, seconds=100)
    assert times == arrival_times("round 1", per_second=50, seconds=100)
    assert times != arrival_times("round 2", per_second=50, seconds=100)
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 100
    # Poisson: the standard deviation is 71.
    assert len(times) == pytest.approx(5_000, abs=350)


async def test_what_starts_at_its_time_waits_for_nothing_before_it() -> None:
    begun = time.monotonic()
    all_there = asyncio.Barrier(3)

    async def act() -> float:
        arrived = time.monotonic() - begun
        await all_there.wait()
        return arrived

    async with asyncio.timeout(5):
        arrived = await started_at((at, act) for at in (0.0, 0.05, 0.1))
    assert arrived == sorted(arrived)
    assert arrived[1] >= 0.05
    assert arrived[2] >= 0.1
