"""A Kafka cluster is given as several bootstrap servers, and one of them may be unavailable."""

from collections.abc import Callable

from tests.chaos.environment import Environment
from tests.chaos.observer import observe
from tests.chaos.oracle import check, violated
from tests.chaos.worker_pool import Worker

UNAVAILABLE = "127.0.0.1:1"


async def test_relay_and_consumer_connect_when_the_first_bootstrap_server_is_unavailable(
    environment: Environment, start: Callable[..., Worker]
) -> None:
    worker = start("writer", "relay", "consumer", seed=1, operations=15, kafka=f"{UNAVAILABLE},{environment.kafka}")
    assert await worker.finishes_within(60)
    observed = await observe(environment)
    assert violated(check(observed)) == {}
    assert observed.effects
