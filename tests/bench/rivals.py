"""What the relay is measured against: a producer without an outbox, and another outbox, each set up to be fast."""

import json
import time
from collections.abc import Sequence

import asyncpg
import sqlalchemy as sa
from aiokafka import AIOKafkaProducer
from faststream.kafka import KafkaBroker, KafkaResponse
from faststream_outbox import OutboxBroker, make_outbox_table
from faststream_outbox.annotations import OutboxMessage
from faststream_outbox.autovacuum import outbox_autovacuum_ddl
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shared.database import dsn_of
from tests.bench.backlog import Message
from tests.bench.waiting import until

BATCH_BYTES = 900_000
LINGER_MS = 5
TABLE = "rival_outbox"
QUEUE = "users"
WORKERS = 32
FETCHED_ROWS = 500
DELETED_ROWS = 50
POLL_SECONDS = 0.01
DRAINED_SECONDS = 120.0


async def send_bare(kafka: str, topic: str, messages: Sequence[Message]) -> float:
    """Send what is in memory, with the guarantees that the relay asks for; seconds until all is acknowledged."""
    async with AIOKafkaProducer(
        bootstrap_servers=kafka,
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_BYTES,
        linger_ms=LINGER_MS,
    ) as producer:
        await producer.partitions_for(topic)
        started = time.perf_counter()
        sent = [
            await producer.send(topic, key=message.key, value=message.value, headers=message.headers)
            for message in messages
        ]
        await producer.flush()
        seconds = time.perf_counter() - started
        for future in sent:
            future.result()
    return seconds


async def prepare_faststream_outbox(database_url: str) -> None:
    """Make its table as its manual asks for it."""
    metadata = sa.MetaData()
    make_outbox_table(metadata, table_name=TABLE)
    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.execute(sa.text(outbox_autovacuum_ddl(TABLE, vacuum_cost_delay=0)))
    await engine.dispose()


async def fill_faststream_outbox(database_url: str, messages: Sequence[Message]) -> None:
    """With rows as its `publish` writes them; the key has no column of its own, and is in the headers."""
    connection = await asyncpg.connect(dsn_of(database_url))
    await connection.copy_records_to_table(
        TABLE,
        columns=["queue", "payload", "headers"],
        records=[
            (QUEUE, message.value, json.dumps({name: value.decode() for name, value in message.headers}))
            for message in messages
        ],
    )
    await connection.execute(f"VACUUM (ANALYZE) {TABLE}")
    await connection.close()


async def drain_faststream_outbox(database_url: str, *, kafka: str, topic: str) -> float:
    """Relay all rows, with as many workers as pay; seconds until the table is empty. It keeps no order."""
    engine = create_async_engine(database_url, pool_size=WORKERS + 2)
    outbox, broker = _faststream_relay(engine, kafka=kafka, topic=topic)
    await broker.connect()
    connection = await asyncpg.connect(dsn_of(database_url))
    started = time.perf_counter()
    await outbox.start()
    await until(connection, f"SELECT NOT EXISTS (SELECT FROM {TABLE})", seconds=DRAINED_SECONDS)  # noqa: S608 - a constant
    seconds = time.perf_counter() - started
    await connection.close()
    await outbox.stop()
    await broker.stop()
    await engine.dispose()
    return seconds


def _faststream_relay(engine: AsyncEngine, *, kafka: str, topic: str) -> tuple[OutboxBroker, KafkaBroker]:
    broker = KafkaBroker(kafka, acks="all", enable_idempotence=True, allow_auto_create_topics=False, logger=None)
    table = make_outbox_table(sa.MetaData(), table_name=TABLE)
    outbox = OutboxBroker(engine, outbox_table=table, logger=None)

    async def keep_bytes(message: OutboxMessage) -> bytes:
        return message.body

    @broker.publisher(topic)
    @outbox.subscriber(
        QUEUE,
        decoder=keep_bytes,
        max_workers=WORKERS,
        fetch_batch_size=FETCHED_ROWS,
        terminal_flush_batch_size=DELETED_ROWS,
        min_fetch_interval=POLL_SECONDS,
    )
    async def relay(message: OutboxMessage) -> KafkaResponse:
        headers = message.headers
        return KafkaResponse(message.body, key=headers["ce_subject"].encode(), headers=headers)

    return outbox, broker
