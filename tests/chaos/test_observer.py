"""The observer waits for late events."""

import asyncio
from collections.abc import Callable

from tests.chaos.environment import Environment
from tests.chaos.observer import observe
from tests.chaos.oracle import SETTLED, check, violated
from tests.chaos.worker_pool import Worker


async def test_late_events_are_not_reported_as_lost(environment: Environment, start: Callable[..., Worker]) -> None:
    writer = start("writer", "relay", seed=1, operations=15)
    assert await writer.finishes_within(60)
    observing = asyncio.create_task(observe(environment, within_seconds=1))
    await asyncio.sleep(2)
    assert not observing.done()
    start("consumer", seed=2)
    observed = await observing
    assert set(violated(check(observed))) == {SETTLED}
    assert observed.lag > 0
    assert len(observed.effects) >= 15
