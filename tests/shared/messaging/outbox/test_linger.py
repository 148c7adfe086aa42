"""A relay that lingers publishes the events of several commits together."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from shared.connection_urls import dsn_of
from shared.database import Database
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.publisher import Acknowledged, PartitionsOf, Publisher, PublishError
from shared.messaging.outbox.relay import Relay
from tests.harness.rows import Rows
from tests.harness.running import running
from tests.harness.waiting import until
from tests.shared.effects import credit_reserved

Lingering = Callable[[float], AbstractAsyncContextManager[Relay]]


class CountingPublisher(Publisher):
    """A publisher that keeps the size of each page."""

    def __init__(self, kafka: KafkaConnection, **options: Any) -> None:
        super().__init__(kafka, **options)
        self.pages: list[int] = []

    async def publish(
        self, rows: Sequence[asyncpg.Record], *, partitions_of: PartitionsOf
    ) -> tuple[list[Acknowledged], dict[str, PublishError]]:
        """Publish a page."""
        self.pages.append(len(rows))
        return await super().publish(rows, partitions_of=partitions_of)


@pytest.fixture
def publisher(kafka_bootstrap_servers: str, kafka_topics: str) -> CountingPublisher:
    return CountingPublisher(KafkaConnection(kafka_bootstrap_servers, kafka_topics), client_id="test")


@pytest.fixture
def lingering(database: Database, database_url: str, publisher: CountingPublisher) -> Lingering:
    """`lingering(seconds)`: a running relay that has published an event, and polls no more."""

    async def is_sent() -> bool:
        return await Rows(database.sessions).count("outbox_sent") == 1

    @asynccontextmanager
    async def run(seconds: float) -> AsyncIterator[Relay]:
        relay = Relay(dsn=dsn_of(database_url), publisher=publisher, poll_interval_seconds=600, linger_seconds=seconds)
        await commit(database)
        async with running(relay):
            await until(is_sent, what="the first event is sent")
            publisher.pages.clear()
            yield relay

    return run


async def commit(database: Database) -> None:
    """Commit one event."""
    async with database.sessions.begin() as session:
        record(session, credit_reserved())


async def test_events_of_several_commits_are_published_together_at_the_latest_at_a_stop(
    database: Database, publisher: CountingPublisher, lingering: Lingering
) -> None:
    async with lingering(600) as relay:
        for _ in range(5):
            await commit(database)
            relay.wake()
        assert publisher.pages == []
    assert publisher.pages == [5]
    assert await Rows(database.sessions).count("outbox_sent") == 6


async def test_a_relay_lingers_for_the_given_time_only(
    database: Database, publisher: CountingPublisher, lingering: Lingering
) -> None:
    async def is_published() -> bool:
        return publisher.pages == [1]

    async with lingering(0.05) as relay:
        await commit(database)
        relay.wake()
        await until(is_published, what="the event is published")
