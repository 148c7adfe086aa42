"""What relay and consumers do shows in the metrics that dashboards and alerts read."""

import asyncio
from collections.abc import Callable

from prometheus_client import REGISTRY

from shared.database import Database, dsn_of
from shared.ids import new_id
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.publisher import Publisher
from shared.messaging.outbox.relay import Relay
from shared.messaging.topics import create_topics
from tests.harness.builders import received, record_of
from tests.harness.rows import Rows
from tests.harness.waiting import until
from tests.shared.messaging.scenario import REFUSED_CENTS, credit_reserved, subscription


def value_of(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_consumer_counts_what_it_applied_saw_again_missed_and_parked(database: Database) -> None:
    name, user_id = f"test.{new_id()}", new_id()
    first = received(credit_reserved(user_id), sequence=1)
    events = [
        first,
        first._replace(offset=first.offset + 1_000_000),
        received(credit_reserved(user_id), sequence=3),
        received(credit_reserved(cents=REFUSED_CENTS), sequence=1),
    ]
    consumer = ConsumerWorker(name=name, subscription=subscription(), sessions=database.sessions)
    await consumer.apply([record_of(event) for event in events])
    of_consumer = {
        (sample.name, sample.labels.get("type") or sample.labels.get("reason")): sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.labels.get("consumer") == name and sample.name.endswith(("_total", "_count"))
    }
    assert of_consumer == {
        ("consumer_applied_total", "user.credit_reserved"): 2,
        ("consumer_duplicates_total", None): 1,
        ("consumer_gaps_total", None): 1,
        ("consumer_dead_letters_total", "rule_violated"): 1,
        ("consumer_retries_total", None): 1,  # as a whole, then with a savepoint for the one that was refused
        ("consumer_end_to_end_seconds_count", None): 2,
        ("consumer_batch_seconds_count", None): 1,
    }


async def test_a_relay_counts_what_it_published_and_shows_whether_it_leads(
    database: Database, database_url: str, kafka_bootstrap_servers: str, topic_prefix: str
) -> None:
    await create_topics(kafka_bootstrap_servers, prefix=topic_prefix)
    publisher = Publisher(bootstrap_servers=kafka_bootstrap_servers, client_id="test", topic_prefix=topic_prefix)
    relay, rows = Relay(dsn=dsn_of(database_url), publisher=publisher), Rows(database.sessions)
    counters: list[Callable[[], float]] = [
        lambda: value_of("relay_published_total", topic="users"),
        lambda: value_of("relay_delay_seconds_count"),
    ]
    before = [count() for count in counters]
    async with database.sessions.begin() as session:
        for _ in range(3):
            record(session, credit_reserved())

    async def all_sent() -> bool:
        return await rows.count("outbox_sent") == 3

    running = asyncio.create_task(relay.run())
    await until(all_sent, what="the events were sent")
    assert (value_of("relay_leader", shard="0"), value_of("relay_epoch", shard="0")) == (1, 1)
    relay.stop()
    async with asyncio.timeout(60):
        await running
    await relay.close()
    assert [count() - then for count, then in zip(counters, before, strict=True)] == [3, 3]
    assert value_of("relay_leader", shard="0") == 0
