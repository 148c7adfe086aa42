"""The relay's throughput: events a second from a full outbox into Kafka."""

import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

from shared.connection_urls import dsn_of
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outbox.publisher import Publisher
from shared.messaging.outbox.relay import Relay
from tests.bench.events import TOPIC, fill_outbox, messages
from tests.bench.fixtures import OUTBOX_IS_EMPTY, Benchmark, Fixtures, wait_for
from tests.bench.measurement import Measurement
from tests.bench.relay_baselines import (
    create_faststream_outbox,
    drain_faststream_outbox,
    fill_faststream_outbox,
    send_bare,
)
from tests.harness.kafka_topics import end_offsets
from tests.harness.running import running

FASTSTREAM_SHARE = 10
"""faststream-outbox gets a tenth of the events: it is slow, and its rate does not depend on their number."""
DRAIN_TIMEOUT_SECONDS = 150.0


@asynccontextmanager
async def benchmark(fixtures: Fixtures) -> AsyncIterator[Benchmark]:
    """Measure the relay beside a bare producer and beside faststream-outbox."""
    kafka, events = fixtures.servers.kafka, fixtures.events
    database_url = await fixtures.create_database("relay")
    topic_prefix = await fixtures.create_topics("relay")
    topic = topic_prefix + TOPIC
    await create_faststream_outbox(database_url)

    async def rate(seconds: Awaitable[float], events: int) -> float:
        before = sum((await end_offsets(kafka, topic)).values())
        rate = events / await seconds
        sent = sum((await end_offsets(kafka, topic)).values()) - before
        assert sent == events, f"{sent:,} of {events:,} events are in the topic"
        return rate

    async def measure(_round: int) -> list[Measurement]:
        await fill_outbox(database_url, events=events)
        relay = await rate(drain_outbox(database_url=database_url, kafka=kafka, topic_prefix=topic_prefix), events)
        bare = await rate(send_bare(kafka, topic, messages(events)), events)
        few = events // FASTSTREAM_SHARE
        await fill_faststream_outbox(database_url, messages(few))
        faststream = await rate(drain_faststream_outbox(database_url, kafka=kafka, topic=topic), few)
        return [
            Measurement(
                name="relay: from a full outbox into Kafka",
                values=(relay,),
                unit="events/s",
                higher_is_better=True,
                baseline=baseline,
                baseline_values=(value,),
                ratio_goal=goal,
            )
            for baseline, value, goal in (
                ("bare aiokafka producer", bare, 0.5),
                ("faststream-outbox 0.19", faststream, 5),
            )
        ]

    yield measure


async def drain_outbox(*, database_url: str, kafka: str, topic_prefix: str) -> float:
    """Run a relay until the outbox is empty; return the seconds from its start, once it is connected to Kafka."""
    publisher = Publisher(KafkaConnection(kafka, topic_prefix), client_id="bench")
    await publisher.ping()
    relay = Relay(dsn=dsn_of(database_url), publisher=publisher)
    started = time.perf_counter()
    async with running(relay):
        await wait_for(database_url, OUTBOX_IS_EMPTY, seconds=DRAIN_TIMEOUT_SECONDS)
        return time.perf_counter() - started
