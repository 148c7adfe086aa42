"""Keys that move to new partitions, and hostile records: the oracle finds the honest events in order, and no others."""

from collections.abc import Callable

from shared.messaging.outbox.lease import LEASE_DURATION
from tests.chaos.accounts import CONSUMER, TOPIC
from tests.chaos.environment import Environment
from tests.chaos.hostile_producer import HostileProducer
from tests.chaos.observer import observe, wait_for_sent
from tests.chaos.oracle import DEAD_LETTERS, SENT_IN_ORDER, check, violated
from tests.chaos.partition_faults import PublishedTopic, keys_moved, partitions_added
from tests.chaos.worker_pool import Worker
from tests.harness.kafka_topics import read_topic

SMALL_BURST = 60


async def test_the_oracle_judges_honest_events_over_all_partitions(
    environment: Environment, start: Callable[..., Worker]
) -> None:
    topic = PublishedTopic(TOPIC, "users", environment.producer_url, environment.connection, [CONSUMER])
    hostile = HostileProducer(environment.connection)
    # Relays take the lease of an owner that holds it for longer than theirs: such a clock would be wrong.
    start("relay", "consumer", seed=1, lease_duration=LEASE_DURATION)
    first = start("writer", seed=2, operations=100)
    await wait_for_sent(environment, events=20)
    assert await partitions_added(topic)
    await hostile.send_burst(topic, seed=3, records=SMALL_BURST)
    assert await keys_moved(topic, catch_up_seconds=60)
    second = start("writer", seed=4, operations=100)
    assert await first.finishes_within(60)
    assert await second.finishes_within(60)
    observed = await observe(environment, is_hostile=hostile.has_sent)
    assert violated(check(observed)) == {}
    partitions = {one.partition for one in await read_topic(environment.kafka, environment.topic)}
    assert partitions & set(range(6, 12)), "no key has moved"


async def test_a_hostile_producer_knows_its_records_again(
    environment: Environment, start: Callable[..., Worker]
) -> None:
    topic = PublishedTopic(TOPIC, "users", environment.producer_url, environment.connection, [CONSUMER])
    hostile = HostileProducer(environment.connection)
    start("writer", "relay", "consumer", seed=1, operations=20)
    await wait_for_sent(environment, events=20)
    await hostile.send_burst(topic, seed=3, records=SMALL_BURST)
    assert len(await hostile.places(TOPIC)) == SMALL_BURST
    seen = violated(check(await observe(environment)))
    assert SENT_IN_ORDER in seen or DEAD_LETTERS in seen
