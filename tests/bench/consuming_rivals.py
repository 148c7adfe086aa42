"""What the consumer is measured against: a bare loop, and a transaction for each message."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import sqlalchemy as sa
from aiokafka import AIOKafkaConsumer
from faststream.kafka import KafkaBroker, KafkaMessage

from shared.database import dsn_of, open_database
from shared.events.users import UserUpdated
from tests.bench.replica import UPSERT, columns_of

BATCH_RECORDS = 500
_BARE_UPSERT = UPSERT.format(user_ids="$1", emails="$2", names="$3", events="$4")
UPSERT_ONE = sa.text(
    "INSERT INTO replica (user_id, email, name, events) VALUES (:user_id, :email, :name, 1)"
    " ON CONFLICT (user_id) DO UPDATE SET"
    " email = excluded.email, name = excluded.name, events = replica.events + 1"
)


@asynccontextmanager
async def bare_loop(database_url: str, *, kafka: str, topic: str, group: str) -> AsyncIterator[None]:
    """aiokafka and asyncpg: a batch, one bulk upsert, one transaction, the offsets. A repeated batch counts twice."""
    loop = asyncio.create_task(_consume_bare(database_url, kafka=kafka, topic=topic, group=group))
    try:
        yield
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


async def _consume_bare(database_url: str, *, kafka: str, topic: str, group: str) -> None:
    connection = await asyncpg.connect(dsn_of(database_url))
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=kafka,
        group_id=f"bare{group}.{topic}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=BATCH_RECORDS,
    )
    try:
        async with consumer:
            while True:
                batch = await consumer.getmany(timeout_ms=1_000)
                users = [
                    UserUpdated.model_validate_json(record.value) for records in batch.values() for record in records
                ]
                if users:
                    async with connection.transaction():
                        await connection.execute(_BARE_UPSERT, *columns_of(users).values())
                    await consumer.commit()
    finally:
        connection.terminate()


@asynccontextmanager
async def faststream_handler(database_url: str, *, kafka: str, topic: str, group: str) -> AsyncIterator[None]:
    """A handler gets a message and opens a transaction, as the manual has it; acknowledging first is the fastest."""
    database = open_database(database_url, service="rival", pool_size=2)
    broker = KafkaBroker(kafka, logger=None)

    @broker.subscriber(topic, group_id=f"faststream{group}.{topic}", auto_offset_reset="earliest")
    async def remember(message: KafkaMessage) -> None:
        user = UserUpdated.model_validate_json(message.body)
        async with database.sessions.begin() as session:
            await session.execute(UPSERT_ONE, {"user_id": user.user_id, "email": user.email, "name": user.name})

    try:
        async with broker:
            await broker.start()
            yield
    finally:
        await database.close()
