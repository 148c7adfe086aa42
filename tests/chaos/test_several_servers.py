"""A cluster is given as several servers, and one of them may be away."""

from collections.abc import Callable

from tests.chaos.evidence import Scene
from tests.chaos.nursery import Worker
from tests.chaos.oracle import broken, judge

AWAY = "127.0.0.1:1"


async def test_relay_and_consumer_find_the_cluster_when_the_first_of_its_servers_is_away(
    scene: Scene, start: Callable[..., Worker]
) -> None:
    worker = start("writer", "relay", "consumer", seed=1, operations=15, kafka=f"{AWAY},{scene.kafka}")
    assert await worker.rested(within_seconds=60)
    evidence = await scene.evidence(within_seconds=60)
    assert broken(judge(evidence)) == {}
    assert evidence.effects
