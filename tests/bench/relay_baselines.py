"""The baselines of the relay: a producer without an outbox, and another outbox, both configured to be fast."""

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
from sqlalchemy.ext.asyncio import create_async_engine

from shared.connection_urls import dsn_of
from tests.bench.events import Message
from tests.bench.fixtures import wait_for

BATCH_BYTES = 900_000
LINGER_MS = 5
TABLE = "faststream_outbox"
QUEUE = "users"
WORKERS = 32
FETCHED_ROWS = 500
DELETED_ROWS = 50
POLL_SECONDS = 0.01
DRAIN_TIMEOUT_SECONDS = 120.0

_OUTBOX = make_outbox_table(sa.MetaData(), table_name=TABLE)


async def send_bare(kafka: str, topic: str, messages: Sequence[Message]) -> float:
    """Send messages from memory with the relay's guarantees; return the seconds until all are acknowledged."""
    async with AIOKafkaProducer(
        bootstrap_servers=kafka,
        acks="all",
        enable_idempotence=True,
        max_batch_size=BATCH_BYTES,
        linger_ms=LINGER_MS,
    ) as producer:
        await producer.partitions_for(topic)
        started = time.perf_counter()
        sent = [await producer.send(topic, **message) for message in messages]
        await producer.flush()
        seconds = time.perf_counter() - started
        for future in sent:
            future.result()
    return seconds


async def create_faststream_outbox(database_url: str) -> None:
    """Create the table as its manual says."""
    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        await connection.run_sync(_OUTBOX.metadata.create_all)
        await connection.execute(sa.text(outbox_autovacuum_ddl(TABLE, vacuum_cost_delay=0)))
    await engine.dispose()


async def fill_faststream_outbox(database_url: str, messages: Sequence[Message]) -> None:
    """Add rows as its `publish` writes them. The key has no column of its own and is in the headers."""
    connection = await asyncpg.connect(dsn_of(database_url))
    await connection.copy_records_to_table(
        TABLE,
        columns=["queue", "payload", "headers"],
        records=[
            (QUEUE, message["value"], json.dumps({name: value.decode() for name, value in message["headers"]}))
            for message in messages
        ],
    )
    await connection.execute(f"VACUUM (ANALYZE) {TABLE}")
    await connection.close()


async def drain_faststream_outbox(database_url: str, *, kafka: str, topic: str) -> float:
    """Relay all rows with the fastest number of workers, in no order; return the seconds until the table is empty."""
    engine = create_async_engine(database_url, pool_size=WORKERS + 2)
    broker = KafkaBroker(kafka, acks="all", enable_idempotence=True, allow_auto_create_topics=False, logger=None)
    outbox = OutboxBroker(engine, outbox_table=_OUTBOX, logger=None)

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

    await broker.connect()
    started = time.perf_counter()
    await outbox.start()
    is_empty = f"SELECT NOT EXISTS (SELECT FROM {TABLE})"  # noqa: S608 - a constant
    await wait_for(database_url, is_empty, seconds=DRAIN_TIMEOUT_SECONDS)
    seconds = time.perf_counter() - started
    await outbox.stop()
    await broker.stop()
    await engine.dispose()
    return seconds
