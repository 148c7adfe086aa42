"""The baselines of the consumer: a bare loop without an inbox, and a handler with a transaction a message."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from aiokafka import AIOKafkaConsumer
from faststream.kafka import KafkaBroker, KafkaMessage

from shared.connection_urls import dsn_of
from shared.database import open_database
from shared.events.users import UserUpdated
from tests.bench.events import TOPIC
from tests.bench.replica import UPSERT_MANY, UPSERT_ONE, columns_of

BATCH_RECORDS = 500
_UPSERT_MANY = UPSERT_MANY.format("$1", "$2", "$3", "$4")


@asynccontextmanager
async def bare_loop(database_url: str, *, kafka: str, topic_prefix: str, group: str) -> AsyncIterator[None]:
    """Apply each batch with one bulk upsert, then commit the offsets. A repeated batch counts twice."""
    connection = await asyncpg.connect(dsn_of(database_url))
    consumer = AIOKafkaConsumer(
        topic_prefix + TOPIC,
        bootstrap_servers=kafka,
        group_id=topic_prefix + group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=BATCH_RECORDS,
    )

    async def consume() -> None:
        async with consumer:
            while True:
                batch = await consumer.getmany(timeout_ms=1_000)
                users = [
                    UserUpdated.model_validate_json(record.value) for records in batch.values() for record in records
                ]
                if users:
                    async with connection.transaction():
                        await connection.execute(_UPSERT_MANY, *columns_of(users).values())
                    await consumer.commit()

    loop = asyncio.create_task(consume())
    try:
        yield
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        connection.terminate()


@asynccontextmanager
async def faststream_handler(database_url: str, *, kafka: str, topic_prefix: str, group: str) -> AsyncIterator[None]:
    """Open a transaction for each message, as the manual shows; acknowledging first is the fastest policy."""
    database = open_database(database_url, service="baseline", pool_size=2)
    broker = KafkaBroker(kafka, logger=None)

    @broker.subscriber(topic_prefix + TOPIC, group_id=topic_prefix + group, auto_offset_reset="earliest")
    async def upsert(message: KafkaMessage) -> None:
        user = UserUpdated.model_validate_json(message.body)
        async with database.sessions.begin() as session:
            await session.execute(
                UPSERT_ONE, {"user_id": user.user_id, "personal": user.personal, "locale": user.locale}
            )

    try:
        async with broker:
            await broker.start()
            yield
    finally:
        await database.close()
