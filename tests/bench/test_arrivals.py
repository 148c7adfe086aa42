"""Random arrival times, and starting work at its time."""

import asyncio

import pytest

from tests.bench.arrivals import arrival_times, start_each_at


def test_arrivals_depend_on_the_seed_only_and_have_the_requested_rate() -> None:
    times = arrival_times("round 1", per_second=50, seconds=100)
    assert times == arrival_times("round 1", per_second=50, seconds=100)
    assert times != arrival_times("round 2", per_second=50, seconds=100)
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 100
    # Poisson: the standard deviation is 71.
    assert len(times) == pytest.approx(5_000, abs=350)


async def test_each_starts_at_its_time_whether_or_not_earlier_ones_have_ended() -> None:
    loop = asyncio.get_running_loop()
    begun, all_started = loop.time(), asyncio.Barrier(3)

    async def act() -> float:
        started = loop.time() - begun
        await all_started.wait()
        return started

    async with asyncio.timeout(5):
        first, second, third = await start_each_at((at, act) for at in (0.0, 0.05, 0.1))
    assert first < 0.05 <= second < third
    assert third >= 0.1
