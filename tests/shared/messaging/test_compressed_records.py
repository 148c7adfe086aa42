"""Whoever compresses, the producer or the topic by its own setting: the records are read."""

from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaProducer

from shared.database import Database
from shared.ids import new_id
from shared.messaging.consumer.group import ConsumerGroups
from tests.harness.rows import Rows
from tests.harness.waiting import until
from tests.shared.messaging.consuming import Topic, effects_are, running


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
    async with running(consumers_of(database)):
        await until(effects_are(database, 3), what="all are applied")
    assert await Rows(database.sessions).effects() == [(str(user_id), n) for n in (1, 2, 3)]
