"""What another client's transactions leave in the topic: what it took back is not applied, and nothing stands still."""

from collections.abc import Callable

from aiokafka import AIOKafkaProducer

from shared.database import Database
from shared.ids import new_id
from shared.messaging.consumer.group import ConsumerGroups
from tests.harness.rows import Rows
from tests.harness.waiting import until
from tests.shared.messaging.consuming import Topic, effects_are, running


async def test_only_what_was_committed_is_applied(
    database: Database, topic: Topic, kafka_bootstrap_servers: str, consumers_of: Callable[..., ConsumerGroups]
) -> None:
    kept, taken_back = [new_id() for _ in range(6)], [new_id() for _ in range(6)]
    async with AIOKafkaProducer(
        bootstrap_servers=kafka_bootstrap_servers, transactional_id=f"{topic.name}-writer"
    ) as producer:
        for good, bad in zip(kept, taken_back, strict=True):
            async with producer.transaction():
                await Topic(producer, topic.name).send(good, 1)
            await producer.begin_transaction()
            await Topic(producer, topic.name).send(bad, 1)
            await producer.abort_transaction()
            await topic.send(good, 2)
    async with running(consumers_of(database)):
        await until(effects_are(database, 12), what="what was committed is applied")
    effects = await Rows(database.sessions).effects()
    assert sorted(effects) == sorted((str(user_id), sequence) for user_id in kept for sequence in (1, 2))
