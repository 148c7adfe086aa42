"""Jobs are enqueued with their transaction, are retried, and survive lost connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from shared.connection_urls import dsn_of
from shared.database import Database, Sessions, open_database
from shared.jobs import JobRunner, Jobs, ListeningDriver, enqueue, purge_job_log
from shared.maintenance import HELD_JOB_RETENTION, purge_failed_jobs
from shared.telemetry import continued_trace, current_traceparent
from tests.harness.database_outages import cut_connections
from tests.harness.databases import DatabaseFactory, execute_as_owner
from tests.harness.running import running
from tests.harness.waiting import until


@pytest.fixture
async def database_url(database_factory: DatabaseFactory) -> str:
    return await database_factory("notifications")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url, service="test", pool_size=4)
    yield opened
    await opened.close()


def runner_of(jobs: Jobs, database: Database) -> JobRunner:
    url = database.engine.url.render_as_string(hide_password=False)
    return JobRunner(jobs, dsn=dsn_of(url), sessions=database.sessions)


def collecting_jobs() -> tuple[Jobs, list[bytes]]:
    """Return jobs whose task `collect` adds its payload to the list."""
    jobs, collected = Jobs(), list[bytes]()

    @jobs.task("collect")
    async def collect(_sessions: Sessions, payload: bytes) -> None:
        collected.append(payload)

    return jobs, collected


def has(collected: list[bytes], payload: bytes) -> Callable[[], Awaitable[bool]]:
    async def is_there() -> bool:
        return payload in collected

    return is_there


async def test_a_job_exists_only_if_its_transaction_commits(database: Database) -> None:
    jobs, collected = collecting_jobs()
    async with database.sessions() as session:
        await enqueue(session, "collect", b"rolled back")
        await session.rollback()
        await enqueue(session, "collect", b"committed")
        await session.commit()
    async with running(runner_of(jobs, database)):
        await until(has(collected, b"committed"), what="the job ran")
    assert collected == [b"committed"]


async def test_a_runner_that_is_stopped_while_it_connects_ends(database: Database) -> None:
    """A runner without a connection had nothing to tell, and ran on until it was cancelled."""
    jobs, _ = collecting_jobs()
    async with asyncio.timeout(30), running(runner_of(jobs, database)):
        await asyncio.sleep(0)  # it begins to connect


async def test_a_delayed_job_waits_and_a_due_job_runs_at_once(database: Database) -> None:
    jobs, collected = collecting_jobs()
    async with running(runner_of(jobs, database)):
        await asyncio.sleep(1)
        async with database.sessions.begin() as session:
            await enqueue(session, "collect", b"later", delay=timedelta(seconds=5))
            await enqueue(session, "collect", b"now")
        await until(has(collected, b"now"), what="the due job ran")
        assert collected == [b"now"]
        await until(has(collected, b"later"), what="the delayed job ran")


async def test_a_failing_job_is_retried_and_then_held(database: Database) -> None:
    jobs, tries = Jobs(), []

    @jobs.task("fail", attempts=3, initial_delay=timedelta(milliseconds=10))
    async def fail(_sessions: Sessions, _payload: bytes) -> None:
        tries.append(1)
        raise ZeroDivisionError

    async def is_held() -> bool:
        async with database.sessions() as session:
            return bool(await session.scalar(sa.text("SELECT status = 'failed' FROM pgqueuer")))

    async with database.sessions.begin() as session:
        await enqueue(session, "fail", b"")
    async with running(runner_of(jobs, database)):
        await until(is_held, what="the job was held")
    assert len(tries) == 3
    now = datetime.now(UTC)
    with capture_logs() as logs:
        assert await purge_failed_jobs(database.sessions, now) == 0
        assert await purge_failed_jobs(database.sessions, now + HELD_JOB_RETENTION + timedelta(minutes=10)) == 1
    assert [(line["event"], line["entrypoint"]) for line in logs] == [("held_job_purged", "fail")]


async def test_a_purge_of_held_jobs_that_is_rolled_back_logs_nothing(database: Database) -> None:
    async with database.sessions.begin() as session:
        await enqueue(session, "fail", b"")
        await session.execute(sa.text("UPDATE pgqueuer SET status = 'failed'"))
    await execute_as_owner(
        database.sessions,
        """
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'the commit fails'; END $$;
        CREATE CONSTRAINT TRIGGER fail AFTER DELETE ON pgqueuer DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION fail()
        """,
    )

    with capture_logs() as logs, pytest.raises(sa.exc.DBAPIError, match="the commit fails"):
        await purge_failed_jobs(database.sessions, datetime.now(UTC) + HELD_JOB_RETENTION + timedelta(minutes=10))

    assert logs == []


async def test_a_notification_waits_until_the_runner_listens(database_url: str) -> None:
    received: list[str] = []

    async def has_arrived() -> bool:
        return received == ["sent before anybody listened"]

    dsn = dsn_of(database_url)
    async with asyncpg.create_pool(dsn, min_size=1, max_size=2) as pool, ListeningDriver(pool) as driver:
        notifying = asyncio.create_task(driver.notify("orderly_test", "sent before anybody listened"))
        # Not held back, it would be sent, and lost, within this time.
        await asyncio.wait({notifying}, timeout=0.5)

        await driver.add_listener("orderly_test", lambda payload: received.append(str(payload)))

        await notifying
        await until(has_arrived, what="the notification arrived")


async def test_jobs_run_after_their_connections_were_cut(
    database: Database, database_url: str, postgres_admin_url: str
) -> None:
    jobs, collected = collecting_jobs()
    async with running(runner_of(jobs, database)):
        await asyncio.sleep(0.5)
        await cut_connections(postgres_admin_url, database_url)
        async with database.sessions.begin() as session:
            await enqueue(session, "collect", b"after the cut")
        await until(has(collected, b"after the cut"), what="the job ran")


async def test_a_job_runs_in_the_trace_that_enqueued_it(database: Database) -> None:
    jobs, traces = Jobs(), list[str]()

    @jobs.task("trace")
    async def trace(_sessions: Sessions, _payload: bytes) -> None:
        traces.append((current_traceparent() or "")[3:35])

    with continued_trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
        async with database.sessions.begin() as session:
            await enqueue(session, "trace", b"")

    async def has_run() -> bool:
        return bool(traces)

    async with running(runner_of(jobs, database)):
        await until(has_run, what="the job ran")
    assert traces == ["0af7651916cd43dd8448eb211c80319c"]


async def test_old_logs_of_jobs_are_deleted_in_batches(database: Database) -> None:
    async with database.sessions.begin() as session:
        for days in (9, 8, 1):
            at = {"at": datetime.now(UTC) - timedelta(days=days)}
            await session.execute(
                sa.text(
                    "INSERT INTO pgqueuer_log (created, job_id, status, priority, entrypoint)"
                    " VALUES (:at, 1, 'successful', 0, 'collect')"
                ),
                at,
            )
            await session.execute(
                sa.text(
                    "INSERT INTO pgqueuer_statistics (created, count, priority, status, entrypoint)"
                    " VALUES (:at, 1, 0, 'successful', 'collect')"
                ),
                at,
            )
    deleted: list[int] = []
    while not deleted or deleted[-1]:
        async with database.sessions.begin() as session:
            deleted.append(await purge_job_log(session, before=datetime.now(UTC) - timedelta(days=7), limit=1))
    assert deleted == [2, 2, 0]
    async with database.sessions() as session:
        for table in ("pgqueuer_log", "pgqueuer_statistics"):
            is_young = await session.scalars(sa.text(f"SELECT now() - created < interval '7 days' FROM {table}"))  # noqa: S608
            assert is_young.all() == [True]


async def test_the_log_of_a_failed_job_does_not_quote_its_error(database: Database) -> None:
    jobs = Jobs()

    @jobs.task("fail", attempts=1)
    async def fail(_sessions: Sessions, payload: bytes) -> None:
        raise ValueError(f"{payload.decode()} is unknown")

    async with database.sessions.begin() as session:
        await enqueue(session, "fail", b"ada@orderly.example")

    async def tracebacks() -> list[str]:
        async with database.sessions() as session:
            query = "SELECT traceback::text FROM pgqueuer_log WHERE traceback IS NOT NULL"
            return list(await session.scalars(sa.text(query)))

    async def is_logged() -> bool:
        return bool(await tracebacks())

    async with running(runner_of(jobs, database)):
        await until(is_logged, what="the failure is logged")

    [stored] = await tracebacks()
    assert "ValueError: in fail, test_jobs.py:" in stored
    assert "ada@" not in stored
