"""The relay publishes the whole outbox to Kafka in order, and one relay leads at a time."""

import asyncio
import time
from collections.abc import Callable

import asyncpg
import pytest
import sqlalchemy as sa
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.partitioner import DefaultPartitioner
from structlog.testing import capture_logs

from shared.connection_urls import dsn_of
from shared.database import Database
from shared.heartbeat import SUCCESS
from shared.ids import new_id
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outbox.lease import Lease
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.publisher import Publisher, partition_of
from shared.messaging.outbox.relay import Relay, TopicBackoffs
from shared.messaging.outbox.wake_up import CHANNEL
from tests.harness.database_outages import cut_connections
from tests.harness.databases import execute_as_owner
from tests.harness.rows import Rows
from tests.harness.running import running
from tests.harness.waiting import until
from tests.shared.effects import credit_reserved
from tests.shared.outbox import until_outbox_is_empty

UNREACHABLE = "127.0.0.1:1"


async def read_all(servers: str, topic: str, *, count: int) -> "list[ConsumerRecord[bytes, bytes]]":
    """Read `count` records of a topic from its beginning, each partition in its order, and any that follow soon."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=servers, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        records: list[ConsumerRecord[bytes, bytes]] = []
        async with asyncio.timeout(20):
            while len(records) < count:
                for batch in (await consumer.getmany(timeout_ms=500)).values():
                    records += batch
        for batch in (await consumer.getmany(timeout_ms=300)).values():
            records += batch
        return records
    finally:
        await consumer.stop()


async def record_events(database: Database, users: int, *, transactions: int) -> None:
    """Record an event of each user in each transaction."""
    user_ids = [new_id() for _ in range(users)]
    for _ in range(transactions):
        async with database.sessions.begin() as session:
            for user_id in user_ids:
                record(session, credit_reserved(user_id))


def unreachable_relay() -> Relay:
    """Return a relay whose servers do not answer."""
    return Relay(
        dsn=f"postgresql://nobody@{UNREACHABLE}/nothing",
        publisher=Publisher(KafkaConnection(UNREACHABLE), client_id="test"),
    )


async def test_every_event_is_published_once_and_in_order_with_its_envelope(
    database: Database, relay_of: Callable[..., Relay], kafka_bootstrap_servers: str, topic_prefix: str
) -> None:
    await record_events(database, users=5, transactions=120)
    async with running(relay_of()):
        records = await read_all(kafka_bootstrap_servers, f"{topic_prefix}users", count=600)
        await until_outbox_is_empty(database.sessions)
    rows = Rows(database.sessions)
    by_key: dict[bytes | None, list[int]] = {}
    for one in records:
        by_key.setdefault(one.key, []).append(int(dict(one.headers)["ce_sequence"]))
    assert list(by_key.values()) == [list(range(1, 121))] * 5
    sent = await rows.of('SELECT key, partition, "offset" FROM outbox_sent')
    assert {(key.encode(), partition, offset) for key, partition, offset in sent} == {
        (one.key, one.partition, one.offset) for one in records
    }
    assert set(dict(records[0].headers)) == {
        "ce_specversion",
        "ce_id",
        "ce_source",
        "ce_type",
        "ce_time",
        "ce_subject",
        "ce_dataschema",
        "ce_sequence",
        "content-type",
    }


async def test_events_are_published_in_order_with_any_query_plan(
    database: Database, relay_of: Callable[..., Relay]
) -> None:
    await record_events(database, users=1, transactions=2)
    name = database.engine.url.database
    async with database.sessions.begin() as session:
        # The first row is now stored after the second, and a sequential scan returns rows as they are stored.
        await session.execute(sa.text("UPDATE outbox SET tracestate = 'moved' WHERE sequence = 1"))
    plans = ("indexscan", "indexonlyscan", "bitmapscan")
    await execute_as_owner(database.sessions, *(f"ALTER DATABASE {name} SET enable_{plan} = off" for plan in plans))
    rows = Rows(database.sessions)
    async with running(relay_of()):
        await until_outbox_is_empty(database.sessions)
    assert await rows.of('SELECT sequence FROM outbox_sent ORDER BY "offset"') == [(1,), (2,)]


async def test_one_of_two_relays_leads_and_the_other_takes_over(
    database: Database, relay_of: Callable[..., Relay]
) -> None:
    first, second = relay_of(), relay_of()
    rows = Rows(database.sessions)
    async with running(second):
        async with running(first):
            await record_events(database, users=2, transactions=2)
            await until_outbox_is_empty(database.sessions)
            assert first.is_leader != second.is_leader
        await record_events(database, users=2, transactions=2)
        await until_outbox_is_empty(database.sessions)
        assert second.is_leader
    assert await rows.count("outbox_sent") == 8


async def test_a_leader_whose_lease_was_taken_moves_nothing(
    database: Database, database_url: str, relay_of: Callable[..., Relay]
) -> None:
    other = Lease(shard=0, owner="another relay")
    connection = await asyncpg.connect(dsn_of(database_url))
    relay = relay_of()

    async def leads() -> bool:
        return relay.is_leader

    async with running(relay):
        await until(leads, what="the relay leads")
        await connection.execute("UPDATE relay_lease SET expires_at = clock_timestamp() - interval '1 second'")
        assert await other.hold(connection)
        await record_events(database, users=1, transactions=1)
        relay.wake()

        async def has_lost() -> bool:
            return not relay.is_leader

        await until(has_lost, what="the relay notices the loss of its lease")
    assert await Rows(database.sessions).count("outbox") == 1
    await connection.close()


async def test_a_relay_that_stands_by_ignores_wake_ups(database_url: str, relay_of: Callable[..., Relay]) -> None:
    connection = await asyncpg.connect(dsn_of(database_url))
    assert await Lease(shard=0, owner="another relay").hold(connection)
    relay = relay_of(poll_interval_seconds=60)
    standing_by = SUCCESS.labels(relay.heartbeat.loop)
    standing_by.set(0)

    async def stands_by() -> bool:
        tried_at: float = standing_by._value.get()
        return tried_at > 0

    async with running(relay):
        await until(stands_by, what="the relay has tried to take the lease")
        beat_at = relay.heartbeat._beat_at
        for _ in range(80):
            relay.wake()
            await connection.execute(f"NOTIFY {CHANNEL}")
            await asyncio.sleep(0.01)
        assert relay.heartbeat._beat_at == beat_at
    await connection.close()


async def test_events_wait_while_kafka_is_unreachable_and_are_sent_afterwards(
    database: Database, relay_of: Callable[..., Relay]
) -> None:
    rows = Rows(database.sessions)
    await record_events(database, users=3, transactions=3)
    async with running(relay_of(UNREACHABLE)):
        await asyncio.sleep(0.5)
    assert (await rows.count("outbox"), await rows.count("outbox_sent")) == (9, 0)
    async with running(relay_of()):
        await until_outbox_is_empty(database.sessions)


async def test_a_failing_topic_does_not_delay_the_others(database: Database, relay_of: Callable[..., Relay]) -> None:
    rows = Rows(database.sessions)
    await record_events(database, users=2, transactions=1)
    async with database.sessions.begin() as session:
        await session.execute(sa.text("UPDATE outbox SET topic = 'missing' WHERE id = (SELECT min(id) FROM outbox)"))
    async with running(relay_of()):

        async def only_the_missing_waits() -> bool:
            return await rows.of("SELECT DISTINCT topic FROM outbox") == [("missing",)]

        await until(only_the_missing_waits, what="the existing topic was sent")
        await record_events(database, users=1, transactions=1)
        await until(only_the_missing_waits, what="the existing topic was sent again")
    assert await rows.count("outbox_sent") == 2


async def test_a_relay_connects_again_after_its_connection_was_cut(
    database: Database, database_url: str, postgres_admin_url: str, relay_of: Callable[..., Relay]
) -> None:
    async with running(relay_of()):
        await record_events(database, users=1, transactions=1)
        await until_outbox_is_empty(database.sessions)
        await cut_connections(postgres_admin_url, database_url)
        await record_events(database, users=1, transactions=1)
        await until_outbox_is_empty(database.sessions)


async def test_a_relay_without_its_database_is_not_stuck() -> None:
    """Liveness used to fail after a minute without PostgreSQL, but a restart does not help then."""
    began_at = time.monotonic()
    relay = unreachable_relay()

    async def has_heartbeat() -> bool:
        return relay.heartbeat.age_seconds < time.monotonic() - began_at - 0.1

    async with running(relay):
        await until(has_heartbeat, what="the relay tries again")


async def test_a_relay_without_its_database_retries_with_backoff() -> None:

    async def three_tries_failed() -> bool:
        return [line["event"] for line in logs].count("relay_interrupted") == 3

    began_at = time.monotonic()
    with capture_logs() as logs:
        async with running(unreachable_relay()):
            await until(three_tries_failed, what="three tries failed")
    assert time.monotonic() - began_at >= 0.2 + 0.4


def test_the_retry_delay_of_a_failing_topic_doubles_up_to_a_limit() -> None:
    backoffs = TopicBackoffs()
    assert [backoffs.failed("users") for _ in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert backoffs.active() == ["users"]
    backoffs.succeeded("users")
    assert backoffs.active() == []
    assert backoffs.failed("users") == 0.2


@pytest.mark.parametrize("key", [b"a", b"0199a6e2-7c1e-7b7c-8a55-0d6b8f4f2c11", "85123A-ä".encode()])
def test_a_key_has_the_partition_that_kafka_clients_choose(key: bytes) -> None:
    assert partition_of(key, 6) == DefaultPartitioner()(key, list(range(6)), list(range(6)))
