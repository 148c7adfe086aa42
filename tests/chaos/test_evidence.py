"""What the oracle is given."""

import asyncio
from collections.abc import Callable

from tests.chaos.evidence import Scene
from tests.chaos.nursery import Worker
from tests.chaos.oracle import QUIET, broken, judge


async def test_what_is_only_late_is_not_taken_for_lost(scene: Scene, start: Callable[..., Worker]) -> None:
    writer = start("writer", "relay", seed=1, operations=15)
    assert await writer.rested(within_seconds=60)
    gathering = asyncio.create_task(scene.evidence(within_seconds=1))
    await asyncio.sleep(2)
    assert not gathering.done()
    start("consumer", seed=2)
    evidence = await gathering
    assert set(broken(judge(evidence))) == {QUIET}
    assert evidence.lag > 0
    assert len(evidence.effects) >= 15
