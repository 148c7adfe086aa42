"""docs/examples/outside_subscriber.py applies events once, as a process on a real Kafka."""

import asyncio
import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from shared.events.contract import Event
from shared.events.golden import golden_examples
from shared.events.orders import OrderConfirmed, OrderShipped
from shared.ids import new_id
from shared.messaging.envelope import encode_headers
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outbox.outbox import dataschema_of
from shared.messaging.topics import create_topics
from tests.architecture.source import CHECKOUT

SCRIPT = CHECKOUT / "docs" / "examples" / "outside_subscriber.py"
LINE_TIMEOUT_SECONDS = 60
"""Starting Python and joining a group take a while on a busy machine."""

Send = Callable[[Event, UUID], Awaitable[None]]


@dataclass(frozen=True)
class Subscriber:
    """The example, with its arguments."""

    servers: str
    database: Path
    topic: str

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.StreamReader]:
        """Run it and yield its output; kill it at the end, without a clean shutdown."""
        arguments = [str(SCRIPT), self.servers, str(self.database), self.topic]
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
        assert process.stdout
        yield process.stdout
        process.kill()
        await process.wait()

    def applied(self) -> list[str]:
        """Return the numbers of the orders that it has stored."""
        with sqlite3.connect(self.database) as database:
            rows = database.execute("SELECT number FROM confirmed ORDER BY rowid").fetchall()
        database.close()
        return [number for (number,) in rows]

    async def committed_offset(self) -> int:
        """Return the highest committed offset of its group over all partitions; -1 if there is none."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await admin.start()
        offsets = await admin.list_consumer_group_offsets(f"outside-subscriber.{self.topic}")
        await admin.close()
        return max((position.offset for position in offsets.values()), default=-1)


@pytest.fixture
async def subscriber(kafka_bootstrap_servers: str, topic_prefix: str, tmp_path: Path) -> Subscriber:
    await create_topics(KafkaConnection(kafka_bootstrap_servers, topic_prefix))
    return Subscriber(kafka_bootstrap_servers, tmp_path / "confirmed.sqlite3", f"{topic_prefix}orders")


@pytest.fixture
async def send(subscriber: Subscriber) -> AsyncIterator[Send]:
    async with AIOKafkaProducer(bootstrap_servers=subscriber.servers) as producer:

        async def send_event(event: Event, event_id: UUID) -> None:
            headers = encode_headers(
                event_id=event_id,
                event_type=event.type,
                source="urn:orderly:orders",
                dataschema=dataschema_of(event.type),
                occurred_at=datetime.now(UTC),
                key=event.key,
                sequence=1,
                traceparent=None,
                tracestate=None,
            )
            value = event.model_dump_json().encode()
            await producer.send_and_wait(subscriber.topic, value, key=event.key.encode(), headers=headers)

        yield send_event


async def test_an_outside_subscriber_applies_each_confirmed_order_once(subscriber: Subscriber, send: Send) -> None:
    repeated = new_id()
    async with subscriber.running() as output:
        await send(_confirmed("O-1"), repeated)
        await send(_shipped("O-1"), new_id())
        await send(_confirmed("O-1"), repeated)
        await send(_confirmed("O-2"), new_id())
        lines = [await _line(output), await _line(output)]

    assert lines == ["O-1 confirmed: 107.10 GBP", "O-2 confirmed: 107.10 GBP"]
    assert subscriber.applied() == ["O-1", "O-2"]
    assert await subscriber.committed_offset() in {3, 4}, "at least the events before the last one are committed"


async def test_an_outside_subscriber_resumes_after_it_was_killed(subscriber: Subscriber, send: Send) -> None:
    async with subscriber.running() as output:
        await send(_confirmed("O-1"), new_id())
        await _line(output)
    await send(_confirmed("O-2"), new_id())
    async with subscriber.running() as output:
        line = await _line(output)

    assert line == "O-2 confirmed: 107.10 GBP"
    assert subscriber.applied() == ["O-1", "O-2"]


def _confirmed(number: str) -> OrderConfirmed:
    return OrderConfirmed.model_validate_json(_json_of("order.confirmed")).model_copy(update={"number": number})


def _shipped(number: str) -> OrderShipped:
    return OrderShipped.model_validate_json(_json_of("order.shipped")).model_copy(update={"number": number})


def _json_of(event_type: str) -> bytes:
    return json.dumps(golden_examples(event_type)[-1]).encode()


async def _line(output: asyncio.StreamReader) -> str:
    async with asyncio.timeout(LINE_TIMEOUT_SECONDS):
        return (await output.readline()).decode().strip()
