"""A service's own loops run in the role jobs, are woken by commits, and count for the liveness of the process."""

import asyncio
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from shared import service
from shared.connection_urls import dsn_of
from shared.database import Sessions
from shared.heartbeat import Heartbeat
from shared.jobs import Jobs
from shared.loops import wake_after_commit
from shared.service import create_service
from shared.settings import ServiceSettings
from tests.harness.databases import DatabaseFactory
from tests.harness.heartbeats import let_beat_age
from tests.shared.http.token_issuer import TokenIssuer

UNREACHABLE = "127.0.0.1:9"


class RecordingLoop:
    """A loop that notes its calls in order."""

    name = "tidying"

    def __init__(self, *, dsn: str, sessions: Sessions) -> None:
        self.dsn, self.sessions = dsn, sessions
        self.calls: list[str] = []
        self.heartbeat = Heartbeat(self.name)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        self.calls.append("run")
        await self._stopping.wait()
        self.calls.append("ended")

    def stop(self) -> None:
        self.calls.append("stop")
        self._stopping.set()

    def wake(self) -> None:
        self.calls.append("wake")


@pytest.fixture
async def database_url(database_factory: DatabaseFactory) -> str:
    return await database_factory("users")


def settings_of(database_url: str, **settings: Any) -> ServiceSettings:
    values = {
        "database_url": database_url,
        "valkey_url": f"redis://{UNREACHABLE}",
        "kafka_bootstrap_servers": UNREACHABLE,
        "http_port": 0,
        **settings,
    }
    return ServiceSettings.model_validate(values)


def open_parts(database_url: str, **settings: Any) -> service._Parts:
    return service._open_parts(
        name="test",
        settings=settings_of(database_url, **settings),
        subscriptions=[],
        jobs=Jobs(),
        republished=(),
        loops=[RecordingLoop],
    )


async def commit_work(sessions: Sessions) -> None:
    """Ask twice for the loop, in a transaction that commits, and once in one that is rolled back."""
    async with sessions.begin() as session:
        await session.execute(sa.text("SELECT 1"))
        wake_after_commit(session, "tidying")
        wake_after_commit(session, "tidying")
    async with sessions() as session:
        wake_after_commit(session, "tidying")
        await session.rollback()


async def test_a_commit_wakes_the_loop_of_its_process_once(database_url: str) -> None:
    parts = open_parts(database_url)
    [loop] = parts.loops
    assert isinstance(loop, RecordingLoop)

    await commit_work(parts.database.sessions)

    assert (loop.dsn, loop.sessions, loop.calls) == (dsn_of(database_url), parts.database.sessions, ["wake"])
    await parts.database.close()


async def test_a_commit_in_another_role_notifies_the_loops_of_other_processes(database_url: str) -> None:
    parts, woken = open_parts(database_url, roles="api,consumer"), asyncio.Event()
    listener = await asyncpg.connect(dsn_of(database_url))
    await listener.add_listener("tidying", lambda *_: woken.set())
    notifying = asyncio.create_task(parts.notifier.run())

    await commit_work(parts.database.sessions)

    async with asyncio.timeout(60):
        await woken.wait()
        parts.notifier.stop()
        await notifying
    assert parts.loops == []
    await parts.database.close()
    await listener.close()


async def test_a_loop_without_a_heartbeat_for_a_minute_makes_the_process_not_live(database_url: str) -> None:
    parts = open_parts(database_url, roles="jobs")
    [loop] = parts.loops
    assert isinstance(loop, RecordingLoop)
    let_beat_age(loop.heartbeat, seconds=59)
    assert parts.watched().stuck() == []
    let_beat_age(loop.heartbeat, seconds=2)
    assert parts.watched().stuck() == ["tidying"]


async def test_a_stopping_service_waits_for_its_loops(database_url: str, valkey_url: str) -> None:
    opened: list[RecordingLoop] = []

    def open_loop(*, dsn: str, sessions: Sessions) -> RecordingLoop:
        opened.append(RecordingLoop(dsn=dsn, sessions=sessions))
        return opened[0]

    async def close() -> None:
        opened[0].calls.append("closed")

    app: FastAPI = create_service(
        name="test",
        description="The service under test.",
        settings=settings_of(database_url, valkey_url=valkey_url, roles="jobs"),
        routers=[],
        subscriptions=[],
        jobs=Jobs(),
        loops=[open_loop],
        token_verifier=TokenIssuer().verifier(),
        closing=[close],
    )
    async with app.router.lifespan_context(app):
        await asyncio.sleep(0)
    assert opened[0].calls == ["run", "stop", "ended", "closed"]
