"""The topic and the consumers of a test, and how it waits for them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from aiokafka import AIOKafkaProducer

from shared.database import Database
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.envelope import Headers, encode_headers
from tests.harness.builders import received
from tests.harness.rows import Rows
from tests.shared.messaging.scenario import credit_reserved


class Topic:
    """The test's own topic, written to as another service's relay would."""

    def __init__(self, producer: AIOKafkaProducer, name: str) -> None:
        self._producer = producer
        self.name = name

    async def send(self, user_id: UUID, sequence: int, *, cents: int = 100, times: int = 1) -> None:
        """Publish one event, `times` times with one id."""
        event = received(credit_reserved(user_id, cents=cents), sequence=sequence)
        assert event.context is not None
        headers = encode_headers(
            event_id=event.context.event_id,
            event_type=event.context.type,
            source="urn:orderly:test",
            dataschema="urn:orderly:event:user.credit_reserved",
            occurred_at=event.context.time,
            key=event.key,
            sequence=sequence,
            traceparent=None,
            tracestate=None,
        )
        for _ in range(times):
            await self.send_raw(event.key.encode(), event.value, headers)

    async def send_raw(self, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Publish what no service would."""
        await self._producer.send_and_wait(self.name, value=value, key=key, headers=headers)


@asynccontextmanager
async def running(consumers: ConsumerGroups) -> AsyncIterator[None]:
    await consumers.run()
    try:
        yield
    finally:
        await consumers.stop()


def effects_are(database: Database, count: int) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        return await Rows(database.sessions).count("effect") >= count

    return reached
