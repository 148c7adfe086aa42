"""A commit in one process wakes the relay in another process, which need not wait for its next poll."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

from shared.connection_urls import dsn_of
from shared.database import Database
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.relay import Relay
from shared.messaging.outbox.wake_up import CHANNEL, MIN_INTERVAL_SECONDS, Notifier
from tests.harness.rows import Rows
from tests.harness.running import running
from tests.harness.waiting import until
from tests.shared.effects import credit_reserved


class WakeUps:
    """Counts the wake-ups that were received."""

    def __init__(self) -> None:
        self.count = 0
        self.second = asyncio.Event()

    def add(self, *_: object) -> None:
        self.count += 1
        if self.count > 1:
            self.second.set()


@pytest.fixture
async def wake_ups(database_url: str) -> AsyncIterator[WakeUps]:
    wake_ups = WakeUps()
    connection = await asyncpg.connect(dsn_of(database_url))
    await connection.add_listener(CHANNEL, wake_ups.add)
    yield wake_ups
    await connection.close()


async def test_a_wake_up_makes_a_relay_publish_long_before_its_next_poll(
    database: Database, database_url: str, relay_of: Callable[..., Relay]
) -> None:
    relay, notifier = relay_of(poll_interval_seconds=600), Notifier(dsn=dsn_of(database_url))
    rows = Rows(database.sessions)

    async def leads() -> bool:
        return relay.is_leader

    async def is_sent() -> bool:
        return await rows.count("outbox_sent") == 1

    async with running(relay, notifier):
        await until(leads, what="the relay leads")
        async with database.sessions.begin() as session:
            record(session, credit_reserved())
        notifier.wake()
        await until(is_sent, what="the event is sent")


async def test_two_wake_ups_are_at_least_an_interval_apart(database_url: str, wake_ups: WakeUps) -> None:
    notifier = Notifier(dsn=dsn_of(database_url))

    async def commit_continuously() -> None:
        while wake_ups.count < 10:
            notifier.wake()
            await asyncio.sleep(0)

    began_at = time.monotonic()
    async with running(notifier), asyncio.timeout(60):
        await commit_continuously()
    assert time.monotonic() - began_at >= 9 * MIN_INTERVAL_SECONDS


async def test_one_commit_sends_one_wake_up(database_url: str, wake_ups: WakeUps) -> None:
    notifier = Notifier(dsn=dsn_of(database_url))

    async def one_was_received() -> bool:
        return wake_ups.count > 0

    notifier.wake()
    async with running(notifier):
        await until(one_was_received, what="a wake-up is received")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await wake_ups.second.wait()
        assert wake_ups.count == 1


async def test_a_notifier_connects_again_after_its_connection_was_cut(
    database: Database, database_url: str, wake_ups: WakeUps
) -> None:
    notifier = Notifier(dsn=dsn_of(database_url), reconnect_delay_seconds=0.01)

    async def woken() -> bool:
        notifier.wake()
        return wake_ups.count > 0

    async with running(notifier):
        await until(woken, what="a wake-up is received")
        cut = await Rows(database.sessions).of(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'NOTIFY%'"
        )
        assert cut == [(True,)]
        wake_ups.count = 0
        await until(woken, what="a wake-up is received again")
