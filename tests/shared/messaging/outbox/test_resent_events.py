"""Resent events are published by the relay that leads, although a relay has moved them before or loses its lease."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import asyncpg
import pytest

from shared.connection_urls import dsn_of
from shared.database import Database
from shared.ids import new_id
from shared.messaging.outbox.lease import Lease
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.relay import Relay
from shared.messaging.outbox.resend import next_page, plan_resend, resend_page
from shared.messaging.outbox.watermark import FULL_SCAN_INTERVAL_SECONDS
from tests.harness.databases import until_waiting
from tests.harness.kafka_topics import read_topic
from tests.harness.running import running
from tests.harness.waiting import until
from tests.shared.effects import credit_reserved
from tests.shared.outbox import until_outbox_is_empty

OLD = (1, 2, 3, 4, 5)
"""Sequences of the events that are sent before the first resend."""
NEW = 6
"""Sequence of the event that is recorded with the first resend."""
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
EXPIRE = "UPDATE relay_lease SET expires_at = clock_timestamp() - interval '1 second'"

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class System:
    """The outbox of one user's events, and the topic to which relays publish them."""

    def __init__(self, database: Database, *, bootstrap_servers: str, topic: str) -> None:
        self.sessions = database.sessions
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._user_id = new_id()

    async def record(self) -> None:
        """Record an event."""
        async with self.sessions.begin() as session:
            record(session, credit_reserved(self._user_id))

    async def resend(self, *, records_another: bool = False) -> None:
        """Move all sent events back into the outbox, and record a new one in the same transaction if wanted."""
        async with self.sessions.begin() as session:
            plan = await plan_resend(session, since=LONG_AGO)
            page = await next_page(session, plan, after_id=0)
            await resend_page(session, plan, after_id=0, last_id=page.last_id)
            if records_another:
                record(session, credit_reserved(self._user_id))

    async def until_moved(self) -> None:
        """Wait until a relay has moved all events; a relay that misses one finds it later, by a full scan."""
        await until_outbox_is_empty(self.sessions, seconds=FULL_SCAN_INTERVAL_SECONDS / 2)

    async def published(self) -> list[int]:
        """Return the sequences of the published events, in their order."""
        records = await read_topic(self._bootstrap_servers, self._topic)
        return [int(dict(one.headers)["ce_sequence"]) for one in records]

    async def let_watermark_rise(self, relay: Relay) -> None:
        """Record events one by one. When the relay has moved the last one, its watermark is above the first ones."""
        for _ in OLD:
            await self.record()
            relay.wake()
            await self.until_moved()


@pytest.fixture
def system(database: Database, kafka_bootstrap_servers: str, kafka_topics: str) -> System:
    return System(database, bootstrap_servers=kafka_bootstrap_servers, topic=f"{kafka_topics}users")


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(dsn_of(database_url))
    yield opened
    await opened.close()


other_connection = connection


async def until_leading(relay: Relay, *, is_leading: bool = True) -> None:
    async def is_reached() -> bool:
        return relay.is_leader == is_leading

    await until(is_reached, what="the relay leads" if is_leading else "the relay has noticed that it does not lead")


def lease(owner: str, *, seconds: float = 30) -> Lease:
    """Return a lease that its holder renews once a third of its duration has passed, and not before."""
    return Lease(shard=0, owner=owner, duration=timedelta(seconds=seconds))


async def test_events_below_the_leaders_watermark_are_published_again(
    system: System, relay_of: Callable[..., Relay]
) -> None:
    relay = relay_of()
    async with running(relay):
        await until_leading(relay)
        await system.let_watermark_rise(relay)
        await system.resend(records_another=True)
        relay.wake()
        await system.until_moved()
    assert await system.published() == [*OLD, *OLD, NEW]


async def test_a_relay_that_has_not_noticed_its_successor_publishes_no_resent_event(
    system: System, connection: Connection, relay_of: Callable[..., Relay]
) -> None:
    first, second = (
        relay_of(lease=lease(owner, seconds=9), poll_interval_seconds=0.05) for owner in ("first", "second")
    )
    async with running(first):
        await until_leading(first)
        await system.let_watermark_rise(first)
        async with running(second):
            await connection.execute(EXPIRE)
            await until_leading(second)
            assert first.is_leader
            await system.resend(records_another=True)
            await system.until_moved()
            await until_leading(first, is_leading=False)
        assert await system.published() == [*OLD, *OLD, NEW]
        await until_leading(first)
        await system.resend(records_another=True)
        await system.until_moved()
    assert (await system.published())[11:] == [*OLD, NEW, NEW + 1]


async def test_a_relay_that_lost_its_lease_before_it_moved_an_event_publishes_it_again_when_it_is_resent(
    system: System, connection: Connection, other_connection: Connection, relay_of: Callable[..., Relay]
) -> None:
    """A relay that took over again would otherwise move the event as if it had published it."""
    first, successor = relay_of(lease=lease("first", seconds=0.001)), lease("second")
    async with running(first):
        await until_leading(first)
        async with other_connection.transaction():
            async with connection.transaction():
                await connection.execute("LOCK outbox_resend")
                await system.record()
                first.wake()
                await until_waiting(system.sessions, transactions=1)
                await other_connection.execute("SELECT FROM relay_lease FOR UPDATE")
            # The first one publishes the event, and waits for the lease before it moves the event.
            await until_waiting(system.sessions, transactions=1)
            await other_connection.execute(EXPIRE)
            assert await successor.hold(other_connection)
        second = relay_of(lease=successor)
        leading = asyncio.create_task(second.run())
        await system.until_moved()
        leading.cancel()
        await asyncio.wait({leading})
        await second.close()
        await system.resend()
        await connection.execute(EXPIRE)
        await system.until_moved()
    assert await system.published() == [1, 1, 1]
