"""A commit in one process wakes the relay in another at once, which need not wait for its next poll."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from shared.database import Database, dsn_of
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.publisher import Publisher
from shared.messaging.outbox.relay import Relay
from shared.messaging.outbox.wake_up import CHANNEL, MIN_INTERVAL_SECONDS, Notifier
from shared.messaging.topics import create_topics
from tests.harness.rows import Rows
from tests.harness.waiting import until
from tests.shared.messaging.scenario import credit_reserved


@asynccontextmanager
async def running(*loops: Relay | Notifier) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(loop.run()) for loop in loops]
    try:
        yield
    finally:
        for loop in loops:
            loop.stop()
        async with asyncio.timeout(60):
            await asyncio.gather(*tasks)


class Heard:
    """The wake-ups that came."""

    def __init__(self) -> None:
        self.count = 0
        self.again = asyncio.Event()

    def note(self, *_: object) -> None:
        self.count += 1
        if self.count > 1:
            self.again.set()


@pytest.fixture
async def heard(database_url: str) -> AsyncIterator[Heard]:
    heard = Heard()
    connection = await asyncpg.connect(dsn_of(database_url))
    await connection.add_listener(CHANNEL, heard.note)
    yield heard
    await connection.close()


async def test_a_relay_that_would_not_poll_for_long_sends_what_it_is_woken_for(
    database: Database,
    database_url: str,
    kafka_bootstrap_servers: str,
    topic_prefix: str,
) -> None:
    await create_topics(kafka_bootstrap_servers, prefix=topic_prefix)
    publisher = Publisher(bootstrap_servers=kafka_bootstrap_servers, client_id="test", topic_prefix=topic_prefix)
    relay = Relay(dsn=dsn_of(database_url), publisher=publisher, min_poll_interval_seconds=600)
    notifier = Notifier(dsn=dsn_of(database_url))
    rows = Rows(database.sessions)

    async def leads() -> bool:
        return relay.is_leader

    async def is_sent() -> bool:
        return await rows.count("outbox_sent") == 1

    async with running(relay, notifier):
        await until(leads, what="the relay led")
        async with database.sessions.begin() as session:
            record(session, credit_reserved())
        notifier.wake()
        await until(is_sent, what="the relay was woken")
    await relay.close()


async def test_wake_ups_are_at_least_an_interval_apart_however_many_commits_there_are(
    database_url: str, heard: Heard
) -> None:
    notifier = Notifier(dsn=dsn_of(database_url))

    async def commit_all_the_time() -> None:
        while heard.count < 10:
            notifier.wake()
            await asyncio.sleep(0)

    began_at = time.monotonic()
    async with running(notifier), asyncio.timeout(60):
        await commit_all_the_time()
    assert time.monotonic() - began_at >= 9 * MIN_INTERVAL_SECONDS


async def test_one_commit_wakes_once(database_url: str, heard: Heard) -> None:
    notifier = Notifier(dsn=dsn_of(database_url))

    async def one_came() -> bool:
        return heard.count > 0

    notifier.wake()
    async with running(notifier):
        await until(one_came, what="a wake-up came")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await heard.again.wait()
        assert heard.count == 1


async def test_a_notifier_whose_connection_is_cut_wakes_again(
    database: Database, database_url: str, heard: Heard
) -> None:
    notifier = Notifier(dsn=dsn_of(database_url), reconnect_delay_seconds=0.01)

    async def woken() -> bool:
        notifier.wake()
        return heard.count > 0

    async with running(notifier):
        await until(woken, what="a wake-up came")
        cut = await Rows(database.sessions).of(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'NOTIFY%'"
        )
        assert cut == [(True,)]
        heard.count = 0
        await until(woken, what="a wake-up came again")
