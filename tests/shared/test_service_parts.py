"""The parts of a service as they are put together: who is told of a commit, and which loop makes a process dead."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from shared import service
from shared.database import dsn_of
from shared.health import Unhealthy
from shared.jobs import Jobs
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.wake_up import CHANNEL
from shared.settings import ServiceSettings
from tests.harness.databases import DatabaseFactory
from tests.shared.messaging.scenario import credit_reserved, subscription

OpenParts = Callable[..., service._Parts]
UNREACHABLE = "127.0.0.1:9"


@pytest.fixture
async def open_parts() -> OpenParts:
    """`open_parts(roles="api", database_url=...)`: nothing runs, and nothing connects before it is used."""

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
    ("roles", "seconds", "is_dead"),
    [("relay", 59, False), ("relay", 61, True), ("relay,jobs", 61, True), ("api,consumer,jobs", 61, False)],
)
async def test_a_process_is_dead_whose_relay_has_shown_no_sign_of_life_for_a_minute(
    open_parts: OpenParts, roles: str, seconds: int, is_dead: bool
) -> None:
    parts = open_parts(roles=roles)
    parts.relay._heartbeat_at -= seconds
    if is_dead:
        with pytest.raises(Unhealthy, match=r"^relay$"):
            await service._check_loops(parts)
    else:
        await service._check_loops(parts)


async def test_a_process_is_dead_whose_consumer_has_gone(open_parts: OpenParts) -> None:
    parts = open_parts()
    await service._check_loops(parts)
    parts.consumers._running = True  # though no consumer was started
    with pytest.raises(Unhealthy, match=r"^test\.users$"):
        await service._check_loops(parts)


async def test_a_commit_in_a_process_that_does_not_lead_wakes_the_one_that_does(
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
