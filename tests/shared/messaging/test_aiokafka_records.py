"""A header whose name is not UTF-8, which Kafka takes from any client that is not Java's."""

from collections.abc import AsyncIterator, Callable

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from shared.database import Database
from shared.ids import new_id
from shared.messaging.consumer.group import ConsumerGroups
from tests.harness.rows import Rows
from tests.harness.waiting import until
from tests.shared.messaging.consuming import Topic, effects_are, running

NONE, GZIP, ZSTD = 0, 1, 4


class RawName(str):
    """Sent as other bytes than UTF-8's."""

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


@pytest.fixture
async def producer(kafka_bootstrap_servers: str) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap_servers) as producer:
        yield producer


async def send_to_all_partitions(producer: AIOKafkaProducer, topic: str, *, codec: int) -> list[str]:
    """Three records in one batch, the middle one's header with such a name; returns the keys of the middle ones."""
    partitions = sorted(await producer.partitions_for(topic))
    for partition in partitions:
        batch = producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(
            magic=2,
            compression_type=codec,
            is_transactional=0,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=-1,
            batch_size=16_384,
        )
        for key, name in ((b"first", "plain"), (b"middle-%d" % partition, RawName("raw")), (b"last", "plain")):
            batch.append(key=key, value=b"{}", timestamp=None, headers=[(name, b"\xff"), ("ce_id", b"1")])
        await (await producer.send_batch(batch, topic, partition=partition))
    return [f"middle-{partition}" for partition in partitions]


@pytest.mark.parametrize("codec", [NONE, GZIP, ZSTD])
async def test_the_record_is_parked_and_all_around_it_are_read_once(
    database: Database,
    topic: Topic,
    producer: AIOKafkaProducer,
    consumers_of: Callable[..., ConsumerGroups],
    codec: int,
) -> None:
    users = [new_id() for _ in range(6)]
    for user_id in users:
        await topic.send(user_id, 1)
    middle_keys = await send_to_all_partitions(producer, topic.name, codec=codec)
    for user_id in users:
        await topic.send(user_id, 2)
    rows = Rows(database.sessions)
    async with running(consumers_of(database)):
        await until(effects_are(database, 12), what="the good events are applied")
    dead_letter = await rows.of("SELECT key, reason, headers FROM dead_letter")
    assert sorted(dead_letter, key=str) == sorted(
        [
            *((key, "undecodable", {"plain": "\\xff", "ce_id": "1"}) for key in ("first", "last") for _ in middle_keys),
            *((key, "undecodable", {"\\xff\\xfe": "\\xff", "ce_id": "1"}) for key in middle_keys),
        ],
        key=str,
    )
