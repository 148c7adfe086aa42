"""The sources of a survey: rows of its databases, and offsets of its topics. Faults only delay an answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, TypeAlias, TypeVar

import asyncpg
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from deploy.wrong_builds.build import Build
from shared.connection_errors import CONNECTION_ERRORS
from shared.connection_urls import dsn_of
from shared.error_descriptions import describe_error
from shared.events.topics import topic_named

logger = structlog.get_logger(__name__)

RETRY_DELAY_SECONDS = 0.5
TIMEOUT_SECONDS = 5.0
"""Upper bound of one question. It is asked again."""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Offsets: TypeAlias = Mapping[TopicPartition, int]
T = TypeVar("T")


class Sources:
    """Connects to what was away as soon as it is back."""

    def __init__(self, build: Build) -> None:
        self.prefix = build.kafka.topic_prefix
        self._build = build
        self._connections: dict[str, Connection] = {}
        self._kafka: tuple[AIOKafkaAdminClient, AIOKafkaConsumer] | None = None

    async def fetch(self, service: str, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Return the rows of a query."""

        async def ask() -> list[asyncpg.Record]:
            if service not in self._connections:
                dsn = dsn_of(self._build.database_urls[service])
                self._connections[service] = await asyncpg.connect(dsn, timeout=TIMEOUT_SECONDS)
            return await self._connections[service].fetch(query, *arguments, timeout=TIMEOUT_SECONDS)

        async def drop() -> None:
            if (connection := self._connections.pop(service, None)) is not None:
                connection.terminate()

        return await _until_answered(ask, drop=drop)

    async def ends(self, topic: str) -> Offsets:
        """Return the end of each partition of a topic."""
        name = self.prefix + topic
        partitions = [TopicPartition(name, number) for number in range(topic_named(topic).partitions)]

        async def ask() -> Offsets:
            _, consumer = await self._clients()
            found: Offsets = await consumer.end_offsets(partitions)
            return found

        return await _until_answered(ask, drop=self._drop_clients)

    async def committed(self, group: str) -> Offsets:
        """Return what a group has committed."""

        async def ask() -> Offsets:
            admin, _ = await self._clients()
            found = await admin.list_consumer_group_offsets(self.prefix + group)
            return {place: each.offset for place, each in found.items()}

        return await _until_answered(ask, drop=self._drop_clients)

    async def close(self) -> None:
        """Close the connections."""
        for connection in self._connections.values():
            connection.terminate()
        await self._drop_clients()

    async def _clients(self) -> tuple[AIOKafkaAdminClient, AIOKafkaConsumer]:
        if self._kafka is None:
            async with AsyncExitStack() as stack:
                options = self._build.kafka.client_options()
                admin = AIOKafkaAdminClient(**options)
                stack.push_async_callback(admin.close)
                await admin.start()
                consumer = AIOKafkaConsumer(**options, enable_auto_commit=False)
                stack.push_async_callback(consumer.stop)
                await consumer.start()
                stack.pop_all()
                self._kafka = admin, consumer
        return self._kafka

    async def _drop_clients(self) -> None:
        clients, self._kafka = self._kafka, None
        if clients is not None:
            admin, consumer = clients
            with suppress(KafkaError, OSError):
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await consumer.stop()
                    await admin.close()


@asynccontextmanager
async def sources_of(build: Build) -> AsyncIterator[Sources]:
    """Yield the sources of a build."""
    sources = Sources(build)
    try:
        yield sources
    finally:
        await sources.close()


async def _until_answered(ask: Callable[[], Awaitable[T]], *, drop: Callable[[], Awaitable[None]]) -> T:
    while True:
        try:
            async with asyncio.timeout(2 * TIMEOUT_SECONDS):
                return await ask()
        except (KafkaError, *CONNECTION_ERRORS) as error:
            logger.debug("survey_delayed", error=describe_error(error))
            await drop()
        await asyncio.sleep(RETRY_DELAY_SECONDS)
