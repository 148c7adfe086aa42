"""A service starts and stops its loops in order, runs in the roles of its settings, and reports its health."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
import redis.asyncio
import sqlalchemy as sa
from fastapi import FastAPI
from joserfc.jwk import KeySet
from structlog.testing import capture_logs

from shared.database import Sessions
from shared.health import Unhealthy
from shared.jobs import Jobs, enqueue
from shared.messaging.kafka import KafkaConnection
from shared.messaging.outbox.outbox import record
from shared.messaging.topics import create_topics
from shared.service import create_service
from shared.settings import ServiceSettings
from tests.harness.asgi import client_of
from tests.harness.databases import DatabaseFactory
from tests.harness.rows import Rows
from tests.harness.waiting import until
from tests.shared.effects import credit_reserved, subscription
from tests.shared.http.token_issuer import TokenIssuer

MakeService = Callable[..., FastAPI]
UNREACHABLE = "127.0.0.1:9"
STOPPED_CONSUMERS = [("consumers", "done"), ("jobs", "running")]


class HeldJob:
    """A job that ends once the test sets `may_end`."""

    def __init__(self) -> None:
        self.begun, self.may_end, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.jobs = Jobs()
        self.jobs.task("hold")(self._hold)

    async def begin(self, app: FastAPI) -> None:
        """Enqueue the job, and wait until the service has begun it."""
        async with app.state.sessions.begin() as session:
            await enqueue(session, "hold", b"")
        async with asyncio.timeout(60):
            await self.begun.wait()

    async def _hold(self, _sessions: Sessions, _payload: bytes) -> None:
        self.begun.set()
        await self.may_end.wait()
        self.ended.set()


@pytest.fixture
async def make_service(database_factory: DatabaseFactory, valkey_url: str) -> MakeService:
    """`make_service(roles="api,jobs")`: a service with one subscription, without Kafka unless the test gives one."""
    database_url = await database_factory("users")

    def make(held: HeldJob | None = None, *, options: dict[str, Any] | None = None, **settings: Any) -> FastAPI:
        return create_service(
            name="test",
            description="The service under test.",
            settings=ServiceSettings.model_validate(
                {
                    "database_url": database_url,
                    "valkey_url": valkey_url,
                    "kafka_bootstrap_servers": UNREACHABLE,
                    "http_port": 0,
                    **settings,
                }
            ),
            routers=[],
            subscriptions=[subscription()],
            jobs=held.jobs if held else Jobs(),
            token_verifier=TokenIssuer(KeySet([])).verifier(),
            **(options or {}),
        )

    return make


@asynccontextmanager
async def started(app: FastAPI) -> AsyncIterator[asyncio.Event]:
    """Run the service until the yielded event is set or the block ends; wait for its end."""
    running, stopping = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        async with app.router.lifespan_context(app):
            running.set()
            await stopping.wait()

    task = asyncio.create_task(run())
    async with asyncio.timeout(60):
        await running.wait()
    try:
        yield stopping
    finally:
        stopping.set()
        async with asyncio.timeout(60):
            await task


def rows_of(app: FastAPI) -> Rows:
    return Rows(app.state.sessions)


async def close(app: FastAPI) -> None:
    """Close connections that were opened while the service was not running."""
    await app.state.cache.close()
    await app.state.sessions.kw["bind"].dispose()


async def has_no_clients(valkey_url: str) -> bool:
    """Return whether no other client is connected to the test's Valkey database."""
    async with redis.asyncio.Redis.from_url(valkey_url) as client:
        number = valkey_url.rpartition("/")[2]
        own_id = str(await client.client_id())
        return all(one["db"] != number or one["id"] == own_id for one in await client.client_list())


def leads(app: FastAPI) -> Callable[[], Awaitable[bool]]:
    """Return a condition: a relay holds the lease."""

    async def holds_the_lease() -> bool:
        return await rows_of(app).of("SELECT expires_at > clock_timestamp() FROM relay_lease") == [(True,)]

    return holds_the_lease


async def test_a_stopping_service_is_not_ready_while_it_finishes_its_jobs(make_service: MakeService) -> None:
    held = HeldJob()
    app = make_service(held)
    async with client_of(app) as client, started(app) as stopping:
        await held.begin(app)
        assert (await client.get("/health/ready")).status_code == 200

        async def is_unready() -> bool:
            return (await client.get("/health/ready")).status_code == 503

        stopping.set()
        try:
            await until(is_unready, what="the service is not ready")
            await until(lambda: _shows_steps(client, STOPPED_CONSUMERS), what="the jobs are waited for")
            checks = (await client.get("/health/ready")).json()["checks"]
            assert {name: check["error"] for name, check in checks.items()} == {
                "accepting": "shutting down",
                "database": None,
            }
        finally:
            held.may_end.set()
    report = app.state.health.shutdown.report()
    steps = ("consumers", "jobs", "relay", "pool")
    assert [(one.step, one.status) for one in report.steps] == [(step, "done") for step in steps]


async def _shows_steps(client: httpx2.AsyncClient, steps: list[tuple[str, str]]) -> bool:
    shutdown = (await client.get("/health/live")).json()["shutdown"]
    return [(one["step"], one["status"]) for one in shutdown["steps"]] == steps


async def test_closing_callbacks_run_after_the_jobs_have_ended(make_service: MakeService) -> None:
    held, closed = HeldJob(), list[bool]()

    async def close_resource() -> None:
        closed.append(held.ended.is_set())

    app = make_service(held, options={"closing": [close_resource]})
    async with started(app) as stopping:
        await held.begin(app)
        stopping.set()
        held.may_end.set()
    assert closed == [True]


async def test_a_failing_additional_check_degrades_a_service_and_leaves_it_ready(make_service: MakeService) -> None:
    async def fail() -> None:
        raise Unhealthy("no mail server")

    app = make_service(options={"checks": {"mail": fail}})
    async with client_of(app) as client:
        report = await client.get("/health")
        assert (report.status_code, report.json()["status"]) == (200, "degraded")
        assert report.json()["checks"]["mail"]["error"] == "no mail server"
        assert report.json()["checks"]["consumers"]["error"] == "not started yet"
        assert (await client.get("/health/ready")).status_code == 200
    await close(app)


async def test_a_stopped_service_leaves_no_task_connection_or_lease(make_service: MakeService, valkey_url: str) -> None:
    app, before = make_service(), asyncio.all_tasks()
    with capture_logs() as logs:
        async with client_of(app) as client, started(app):
            await client.get("/health")  # opens a connection of each kind
            await until(leads(app), what="the relay leads")
    assert {line["event"] for line in logs}.isdisjoint({"loop_cancelled", "loop_failed"})
    assert asyncio.all_tasks() == before
    assert app.state.sessions.kw["bind"].pool.checkedin() == 0
    await until(lambda: has_no_clients(valkey_url), what="the cache's connections are closed")
    assert await rows_of(app).of("SELECT expires_at <= clock_timestamp() FROM relay_lease") == [(True,)]
    await close(app)


async def test_events_that_are_recorded_while_the_service_stops_are_sent(
    make_service: MakeService, kafka_bootstrap_servers: str, topic_prefix: str
) -> None:
    await create_topics(KafkaConnection(kafka_bootstrap_servers, topic_prefix))
    held = HeldJob()
    app = make_service(held, kafka_bootstrap_servers=kafka_bootstrap_servers, kafka_topic_prefix=topic_prefix)
    before = asyncio.all_tasks()
    async with started(app) as stopping:
        await held.begin(app)
        await until(leads(app), what="the relay leads")
        stopping.set()
        async with app.state.sessions.begin() as session:
            record(session, credit_reserved())

        async def is_sent() -> bool:
            return await rows_of(app).count("outbox_sent") == 1

        try:
            await until(is_sent, what="the event is sent")
        finally:
            held.may_end.set()
    assert asyncio.all_tasks() == before
    await close(app)


@pytest.mark.parametrize(
    ("seconds", "status", "error"), [(50, "healthy", None), (70, "unhealthy", "events wait to be sent")]
)
async def test_an_event_that_waits_for_more_than_a_minute_fails_the_outbox_check(
    make_service: MakeService, seconds: int, status: str, error: str | None
) -> None:
    app = make_service()
    async with app.state.sessions.begin() as session:
        record(session, credit_reserved())
    async with app.state.sessions.begin() as session:
        await session.execute(sa.text(f"UPDATE outbox SET occurred_at = now() - interval '{seconds} s'"))  # noqa: S608
    async with client_of(app) as client:
        report = (await client.get("/health")).json()
    del report["checks"]["outbox"]["duration_ms"]
    assert report["checks"]["outbox"] == {"status": status, "error": error}
    assert report["status"] == "degraded"
    await close(app)


async def test_a_process_in_the_role_relay_does_nothing_else(make_service: MakeService) -> None:
    held = HeldJob()
    app = make_service(held, roles="relay")
    async with app.state.sessions.begin() as session:
        await enqueue(session, "hold", b"")
    async with client_of(app) as client, started(app):
        await until(leads(app), what="the relay leads")
        assert (await client.get("/health")).json()["checks"]["consumers"]["status"] == "healthy"
        assert (await client.get("/v1/operations/test/dead-letters")).status_code == 404
    assert not held.begun.is_set()
    await close(app)


async def test_a_process_in_the_roles_api_and_jobs_never_leads(make_service: MakeService) -> None:
    held = HeldJob()
    app = make_service(held, roles="api,jobs")
    async with client_of(app) as client, started(app):
        await held.begin(app)
        held.may_end.set()
        assert (await client.get("/v1/operations/test/dead-letters")).status_code == 401
    assert await rows_of(app).count("relay_lease") == 0
    await close(app)
