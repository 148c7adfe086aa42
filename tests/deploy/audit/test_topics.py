"""The audit finds sent events that are not in their topic, and resending them settles that."""

import shlex
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from deploy.audit.context import Context
from deploy.audit.databases import Databases
from deploy.audit.findings import Invariant
from deploy.audit.runs import Limits, run_incremental
from deploy.audit.topics import KafkaTopics, opened_topics
from deploy.audit.watermarks import State
from shared.connection_urls import dsn_of
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outbox.publisher import Publisher
from shared.messaging.outbox.relay import Relay
from shared.messaging.topics import create_topics
from tests.deploy.audit.conftest import writing
from tests.harness.running import running
from tests.harness.tool import Tool
from tests.harness.waiting import until

EVENTS = 60
_RECORD = """
    WITH events AS (
        SELECT 'P-' || n % 6 AS key, 1 + n / 6 AS sequence FROM generate_series(0, $1::int - 1) AS n
    ), streams AS (
        INSERT INTO event_stream (topic, key, sequence, moved_on)
        SELECT 'products', key, max(sequence), current_date FROM events GROUP BY key
    )
    INSERT INTO outbox (shard, event_id, topic, key, sequence, type, source, dataschema, occurred_at, payload)
    SELECT 0, uuidv7(), 'products', key, sequence, 'product.updated', 'urn:orderly:orders', '-', now(), ''
    FROM events ORDER BY sequence
"""


@pytest.fixture
async def kafka(kafka_bootstrap_servers: str, topic_prefix: str) -> KafkaConnection:
    """The broker, with the test's topics."""
    connection = KafkaConnection(kafka_bootstrap_servers, topic_prefix)
    await create_topics(connection)
    return connection


@pytest.fixture
async def databases(urls: dict[str, str], kafka: KafkaConnection) -> AsyncIterator[Databases]:
    """Yield the databases, of which orders has published events of products, while its relay runs on."""
    relay = Relay(dsn=dsn_of(urls["orders"]), publisher=Publisher(kafka, client_id="test"))
    async with writing(urls) as connections, running(relay):
        await connections["orders"].execute(_RECORD, EVENTS)
        await _until_sent(connections["orders"])
        yield connections


@pytest.fixture
async def topics(kafka: KafkaConnection) -> AsyncIterator[KafkaTopics]:
    async with opened_topics(kafka) as opened:
        yield opened


async def _until_sent(orders: "asyncpg.Connection[asyncpg.Record]") -> None:
    async def is_sent() -> bool:
        sent = await orders.fetchval("SELECT count(*) FROM outbox_sent")
        return bool(sent == EVENTS)

    await until(is_sent, what="all events are sent")


async def _found(databases: Databases, topics: KafkaTopics) -> dict[str, str]:
    """Return the commands by text of what is not in its topic."""
    context = Context(databases, datetime.now(UTC), grace=timedelta(0), topics=topics)
    outcome = await run_incremental(context, State(), Limits())
    return {each.text: each.command for each in outcome.reported if each.invariant is Invariant.EVENT_IN_TOPIC}


async def test_events_are_found_where_the_relay_has_written_them(databases: Databases, topics: KafkaTopics) -> None:
    assert await _found(databases, topics) == {}


async def test_an_event_that_kafka_has_lost_is_found_and_resent(
    databases: Databases, topics: KafkaTopics, urls: dict[str, str]
) -> None:
    """The topic ends before the event: a broker that lost its last records gives their offsets again."""
    orders = databases["orders"]
    lost = await orders.fetchrow("""
        UPDATE outbox_sent SET "offset" = "offset" + 1000 WHERE id = (SELECT max(id) FROM outbox_sent)
        RETURNING key, sequence, "offset", event_id
    """)
    assert lost is not None

    found = await _found(databases, topics)

    ((text, command),) = found.items()
    assert f"products {lost['key']}, sequence {lost['sequence']} (product.updated, {lost['event_id']})" in text
    assert f"is not in the topic: offset {lost['offset']} of partition" in text
    _, _, _, *arguments = shlex.split(command)
    assert await Tool("orders", urls["orders"])(*arguments) is not None
    await _until_sent(orders)
    assert await _found(databases, topics) == {}


async def test_a_record_of_another_event_is_found(databases: Databases, topics: KafkaTopics) -> None:
    first = await databases["orders"].fetchval("SELECT event_id FROM outbox_sent ORDER BY id LIMIT 1")
    await databases["orders"].execute(
        "UPDATE outbox_sent SET event_id = uuidv7() WHERE id = (SELECT min(id) FROM outbox_sent)"
    )

    (text,) = await _found(databases, topics)

    assert text.endswith(f"has {first}")


async def test_a_topic_with_fewer_partitions_has_lost_events(databases: Databases, topics: KafkaTopics) -> None:
    await databases["orders"].execute(
        "UPDATE outbox_sent SET partition = 99 WHERE id = (SELECT min(id) FROM outbox_sent)"
    )

    (text,) = await _found(databases, topics)

    assert text.endswith("is not in the topic: Kafka has no partition 99 of products")
