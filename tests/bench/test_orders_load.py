"""The arrivals of the load."""

import asyncio
import time

import pytest

from tests.bench.orders_load import arrival_times, at_times


def test_arrivals_are_the_same_for_the_same_seed_and_as_many_as_asked() -> None:
    times = arrival_times("round 1", per_second=50, seconds=100)
    assert times == arrival_times("round 1", per_second=50, seconds=100)
    assert times != arrival_times("round 2", per_second=50, seconds=100)
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 100
    # Poisson: the standard deviation is 71.
    assert len(times) == pytest.approx(5_000, abs=350)


async def test_what_arrives_waits_for_nothing_before_it() -> None:
    begun = time.monotonic()

    async def act() -> float:
        arrived = time.monotonic() - begun
        await asyncio.sleep(0.3)
        return arrived

    arrived = await at_times([0.0, 0.05, 0.1], act)
    assert arrived == sorted(arrived)
    assert arrived[1] >= 0.05
    assert 0.1 <= arrived[2] < 0.3
