"""The parts of a service work together: a commit wakes the leader, and a stuck loop makes the process not live."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from shared import service
from shared.connection_urls import dsn_of
from shared.health import Unhealthy
from shared.jobs import Jobs
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.wake_up import CHANNEL
from shared.settings import ServiceSettings
from tests.harness.databases import DatabaseFactory
from tests.harness.heartbeats import let_beat_age, let_failing_age
from tests.shared.effects import credit_reserved, subscription

OpenParts = Callable[..., service._Parts]
UNREACHABLE = "127.0.0.1:9"


@pytest.fixture
async def open_parts() -> OpenParts:
    """`open_parts(roles="api", database_url=...)`: parts of a service that do not run and do not connect."""

    def open_(**settings: Any) -> service._Parts:
        given = {
            "database_url": f"postgresql+asyncpg://nobody@{UNREACHABLE}/nothing",
            "valkey_url": f"redis://{UNREACHABLE}",
            "kafka_bootstrap_servers": UNREACHABLE,
            "http_port": 0,
            **settings,
        }
        return service._open_parts(
            name="test",
            settings=ServiceSettings.model_validate(given),
            subscriptions=[subscription()],
            jobs=Jobs(),
            republished=(),
        )

    return open_


@pytest.mark.parametrize(
    ("roles", "seconds", "is_stuck"),
    [("relay", 59, False), ("relay", 61, True), ("relay,jobs", 61, True), ("api,consumer,jobs", 61, False)],
)
async def test_a_relay_without_a_heartbeat_for_a_minute_makes_the_process_not_live(
    open_parts: OpenParts, roles: str, seconds: int, is_stuck: bool
) -> None:
    parts = open_parts(roles=roles)
    let_beat_age(parts.relay.heartbeat, seconds=seconds)
    assert parts.watched().stuck() == (["relay"] if is_stuck else [])


async def test_a_loop_that_fails_for_a_minute_degrades_a_service_that_stays_live(open_parts: OpenParts) -> None:
    heartbeat = open_parts().relay.heartbeat
    heartbeat.failed()
    let_failing_age(heartbeat, seconds=59)
    assert heartbeat.problem() is None
    let_failing_age(heartbeat, seconds=2)
    assert heartbeat.problem() == "no success for 61 s"
    assert not heartbeat.is_stuck
    heartbeat.succeeded()
    assert heartbeat.problem() is None


async def test_a_consumer_that_has_died_is_replaced_and_does_not_end_the_process(open_parts: OpenParts) -> None:
    """A restart would not help while Kafka is away, and the process would end again and again."""
    parts = open_parts()
    parts.consumer_groups._running = True  # although no consumer was started
    assert parts.watched().stuck() == []
    with pytest.raises(Unhealthy, match=r"^test\.users: is being replaced$"):
        await parts.consumer_groups.check()


async def test_a_commit_in_a_process_that_does_not_lead_wakes_the_leader(
    open_parts: OpenParts, database_factory: DatabaseFactory
) -> None:
    database_url = await database_factory("users")
    parts, woken = open_parts(roles="api", database_url=database_url), asyncio.Event()
    listener = await asyncpg.connect(dsn_of(database_url))
    await listener.add_listener(CHANNEL, lambda *_: woken.set())
    notifying = asyncio.create_task(parts.notifier.run())
    async with parts.database.sessions.begin() as session:
        record(session, credit_reserved())
    async with asyncio.timeout(60):
        await woken.wait()
        parts.notifier.stop()
        await notifying
    await parts.database.close()
    await listener.close()
