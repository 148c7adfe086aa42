"""The harness bites: four well-known mistakes are each found by the oracle, in the words for what they do."""

from collections.abc import Callable

import pytest

from tests.chaos.consumer_groups import forget_members
from tests.chaos.evidence import Scene
from tests.chaos.mutants import MUTANTS, SKIP_LOCKED_ROWS
from tests.chaos.nursery import Worker
from tests.chaos.oracle import NOT_APPLIED, NOT_SENT, SENT_ORDER, TWICE, broken, judge

OPERATIONS = 150
KILLED = {
    "delete_before_ack": ("relay.published=kill@3", NOT_SENT),
    "offsets_before_commit": ("consumer.handled=kill@3", NOT_APPLIED),
    "no_inbox": ("consumer.db_committed=kill@3", TWICE),
}


@pytest.mark.parametrize("mutant", KILLED)
async def test_a_mutant_that_is_killed_at_its_weak_spot_is_caught(
    scene: Scene, start: Callable[..., Worker], mutant: str
) -> None:
    failpoint, invariant = KILLED[mutant]
    doomed = start("writer", "relay", "consumer", seed=1, operations=None, failpoints=failpoint, mutant=mutant)
    assert await doomed.ended(within_seconds=60)
    await forget_members(scene.kafka, scene.group)
    successor = start("writer", "relay", "consumer", seed=2, operations=15, mutant=mutant)
    assert await successor.rested(within_seconds=60)
    assert invariant in broken(judge(await scene.evidence()))


@pytest.mark.parametrize("mutant", ["skip_locked", None])
async def test_a_relay_that_others_overtake_is_caught_and_one_with_a_lease_is_not(
    scene: Scene, start: Callable[..., Worker], mutant: str | None
) -> None:
    writer = start("writer", seed=1, operations=OPERATIONS)
    assert await writer.rested(within_seconds=60)
    overtaken = start("relay", seed=2, failpoints="relay.fetched=stop@1", mutant=mutant)
    assert await overtaken.suspended(within_seconds=60)
    start("relay", seed=3, mutant=mutant)
    await scene.sent(all_but=SKIP_LOCKED_ROWS, within_seconds=60)
    overtaken.resume()
    start("consumer", seed=4)
    found = broken(judge(await scene.evidence()))
    assert SENT_ORDER in found if mutant else found == {}


def test_every_mutant_is_tried() -> None:
    assert {*KILLED, "skip_locked"} == set(MUTANTS)
