"""Records that other clients may write: compressed, in transactions, or no events at all."""

from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaProducer

from shared.database import Database
from shared.ids import new_id
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.envelope import Headers
from tests.harness.rows import Rows
from tests.harness.running import running_consumers
from tests.harness.waiting import until
from tests.shared.effects import has_effects
from tests.shared.messaging.consumer.topic import Topic
from tests.shared.patches.undecodable_headers import NONE, builder, headers

NOT_EVENTS: list[tuple[bytes | None, Headers]] = [
    (None, []),
    (b"{}", [("ce_id", b"\xff\xfe")]),
    (b"{}", [("ce_id", None)]),  # type: ignore[list-item]  # Kafka allows a header without a value
    (b"{}", [("ce\x00id", b"one\x00two")]),
    (b"\x00", [("ce_specversion", b"1.0"), ("ce_id", b"not-a-uuid")]),
    (b"{}", [("ce_specversion", b"0.3"), ("ce_id", str(new_id()).encode())]),
]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_records_are_applied(
    database: Database,
    topic: Topic,
    kafka_bootstrap_servers: str,
    consumers_of: Callable[..., ConsumerGroups],
    codec: str,
) -> None:
    user_id = new_id()
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap_servers, compression_type=codec) as producer:
        for sequence in range(1, 4):
            await Topic(producer, topic.name).send(user_id, sequence)
    async with running_consumers(consumers_of(database)):
        await until(has_effects(database, 3), what="all events are applied")
    assert await Rows(database.sessions).effects() == [(str(user_id), n) for n in (1, 2, 3)]


async def test_records_of_aborted_transactions_are_not_applied(
    database: Database, topic: Topic, kafka_bootstrap_servers: str, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    committed, aborted = [new_id() for _ in range(6)], [new_id() for _ in range(6)]
    async with AIOKafkaProducer(
        bootstrap_servers=kafka_bootstrap_servers, transactional_id=f"{topic.name}-writer"
    ) as producer:
        for good, bad in zip(committed, aborted, strict=True):
            async with producer.transaction():
                await Topic(producer, topic.name).send(good, 1)
            await producer.begin_transaction()
            await Topic(producer, topic.name).send(bad, 1)
            await producer.abort_transaction()
            await topic.send(good, 2)
    async with running_consumers(consumers_of(database)):
        await until(has_effects(database, 12), what="the committed events are applied")
    effects = await Rows(database.sessions).effects()
    assert sorted(effects) == sorted((str(user_id), sequence) for user_id in committed for sequence in (1, 2))


async def test_records_that_are_no_events_become_dead_letters(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    user_id = new_id()
    for value, record_headers in NOT_EVENTS:
        await topic.send_raw(b"\xff\x00key", value, record_headers)
    await topic.send(user_id, 1)
    rows = Rows(database.sessions)

    async def all_consumed() -> bool:
        return await rows.count("effect") == 1 and await rows.count("dead_letter") == len(NOT_EVENTS)

    async with running_consumers(consumers_of(database)):
        await until(all_consumed, what="all records are consumed")
    assert await rows.dead_letters() == [("\\xff\\x00key", None, "undecodable")] * len(NOT_EVENTS)


async def test_header_names_that_are_not_utf_8_are_escaped_in_dead_letters(
    database: Database, topic: Topic, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    """Such a record used to end aiokafka's consumer, and each of its successors."""
    users = [new_id() for _ in range(6)]
    for user_id in users:
        await topic.send(user_id, 1)
    partitions = await _send_to_all_partitions(topic)
    for user_id in users:
        await topic.send(user_id, 2)
    async with running_consumers(consumers_of(database)):
        await until(has_effects(database, 12), what="the events are applied")
    dead_letters = await Rows(database.sessions).of("SELECT key, reason, headers FROM dead_letter")
    plain, escaped = {"plain": "\\xff", "ce_id": "1"}, {"\\xff\\xfe": "\\xff", "ce_id": "1"}
    expected = [("first", plain), ("middle", escaped), ("last", plain)] * partitions
    assert sorted(dead_letters, key=str) == sorted([(key, "undecodable", each) for key, each in expected], key=str)


async def _send_to_all_partitions(topic: Topic) -> int:
    """Send a batch with such a header name to each partition; return the number of partitions."""
    partitions = sorted(await topic.producer.partitions_for(topic.name))
    for partition in partitions:
        batch = topic.producer.create_batch()
        batch._builder = builder(codec=NONE)
        for key in (b"first", b"middle", b"last"):
            batch.append(key=key, value=b"{}", timestamp=None, headers=headers(is_undecodable=key == b"middle"))
        await (await topic.producer.send_batch(batch, topic.name, partition=partition))
    return len(partitions)
