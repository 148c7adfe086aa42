"""The exhaustive list: a process is killed at every place that there is, starts again, and nothing is amiss."""

import signal
from collections.abc import Callable

import pytest

from shared.messaging.failpoints import NAMES
from tests.chaos.consumer_groups import forget_members
from tests.chaos.evidence import Scene
from tests.chaos.nursery import Worker
from tests.chaos.oracle import broken, judge

ROLES = ("writer", "relay", "consumer")
OF_EVENTS = [name for name in NAMES if not name.startswith("job.")]
FURTHER_OPERATIONS = 15


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("name", OF_EVENTS)
async def test_a_process_killed_there_and_restarted_loses_doubles_and_disorders_nothing(
    scene: Scene, start: Callable[..., Worker], name: str, nth: int
) -> None:
    doomed = start(*ROLES, seed=nth, operations=None, failpoints=f"{name}=kill@{nth}")
    assert await doomed.ended(within_seconds=60), f"{name} was not passed {nth} times"
    assert doomed.exit_status == -signal.SIGKILL
    await forget_members(scene.kafka, scene.group)
    successor = start(*ROLES, seed=100 + nth, operations=FURTHER_OPERATIONS)
    assert await successor.rested(within_seconds=60)
    evidence = await scene.evidence()
    assert broken(judge(evidence)) == {}
    assert len(evidence.effects) >= FURTHER_OPERATIONS
