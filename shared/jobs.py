"""Jobs on PostgreSQL with PgQueuer: enqueued in the caller's transaction, or scheduled, and retried with backoff."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
import sqlalchemy as sa
import structlog
from opentelemetry.trace import SpanKind
from pgqueuer import AsyncpgDriver, AsyncpgPoolDriver, DatabaseRetryEntrypointExecutor, PgQueuer, Queries
from pgqueuer.executors import EntrypointExecutorParameters
from pgqueuer.models import Job, Schedule
from pgqueuer.ports.driver import NotifyCallback
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.error_descriptions import describe_error
from shared.job_health import JobHealth, ObservedQueries
from shared.patches.sqlalchemy_driver import begun_connection
from shared.statements import count_deleted
from shared.telemetry import current_traceparent, entry_span

logger = structlog.get_logger(__name__)

Task = Callable[[Sessions, bytes], Awaitable[None]]
ScheduledTask = Callable[[Sessions], Awaitable[None]]

POLL_INTERVAL = timedelta(seconds=5)
"""Upper bound of a due job's wait if its notification was lost."""
STATEMENT_TIMEOUT_SECONDS = 15.0
"""Upper bound of each of PgQueuer's statements. Without it, a connection whose server has vanished stops its loops."""
RESTART_DELAY_SECONDS = 2.0
"""Delay before the runner connects again after an error."""

_JOB_LOG = tuple(
    sa.table(name, sa.column("id"), sa.column("created")) for name in ("pgqueuer_log", "pgqueuer_statistics")
)

# PgQueuer's indexes are for its own queries: the purge reads the whole queue, which is short.
_PURGE_HELD_JOBS = sa.text("""
    DELETE FROM pgqueuer WHERE id IN (
        SELECT id FROM pgqueuer WHERE status = 'failed' AND updated < :before
        ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    RETURNING id, entrypoint, updated
""")


class HeldJob(NamedTuple):
    """A job that failed its last attempt, at the time `held_since` in ISO 8601."""

    id: int
    entrypoint: str
    held_since: str


@dataclass(frozen=True)
class _TaskOptions:
    task: Task
    attempts: int
    initial_delay: timedelta
    max_delay: timedelta


class Jobs:
    """The job functions of one service. A job may run twice, so it checks in its transaction what is left to do."""

    def __init__(self) -> None:
        self._tasks: dict[str, _TaskOptions] = {}
        self._scheduled: dict[str, tuple[str, ScheduledTask]] = {}

    def task(
        self,
        name: str,
        *,
        attempts: int = 5,
        initial_delay: timedelta = timedelta(seconds=1),
        max_delay: timedelta = timedelta(minutes=5),
    ) -> Callable[[Task], Task]:
        """Register the function for jobs that are enqueued under `name`.

        A failed job is retried after `initial_delay`, which doubles up to `max_delay`. After `attempts` it is kept with
        status failed, for an operator.
        """

        def register(function: Task) -> Task:
            self._tasks[name] = _TaskOptions(function, attempts, initial_delay, max_delay)
            return function

        return register

    def every(self, expression: str) -> Callable[[ScheduledTask], ScheduledTask]:
        """Register a scheduled function; one process at a time runs it.

        The expression is cron's, with an optional sixth field for seconds.
        """

        def register(function: ScheduledTask) -> ScheduledTask:
            self._scheduled[function.__name__] = (expression, function)
            return function

        return register

    def install(self, queuer: PgQueuer, sessions: Sessions, health: JobHealth) -> None:
        """Register the functions with a queue manager. `health` learns the outcomes of the scheduled ones."""
        for name, options in self._tasks.items():
            _install_task(queuer, sessions, name=name, options=options)
        for name, (expression, function) in self._scheduled.items():
            _install_scheduled(queuer, sessions, health, name=name, expression=expression, function=function)
        health.scheduled(queuer.sm.registry)


class JobRunner:
    """Runs a service's jobs until stopped. After an error of the database it connects again."""

    def __init__(self, jobs: Jobs, *, dsn: str, sessions: Sessions) -> None:
        self._jobs = jobs
        self._dsn = dsn
        self._sessions = sessions
        self._stopping = asyncio.Event()
        self._queuer: PgQueuer | None = None
        self.health = JobHealth()

    async def run(self) -> None:
        """Run jobs until `stop`, then let the current jobs finish."""
        while not self._stopping.is_set():
            self.health.beat()
            try:
                async with asyncpg.create_pool(
                    self._dsn,
                    min_size=1,
                    max_size=4,
                    timeout=5,
                    command_timeout=STATEMENT_TIMEOUT_SECONDS,
                    reset=_keep_session_state,
                ) as pool:
                    if self._stopping.is_set():
                        break  # stopped while it connected: there was no queuer to stop
                    driver = ListeningDriver(pool)
                    self._queuer = PgQueuer(driver, queries=ObservedQueries(driver, health=self.health))
                    self._jobs.install(self._queuer, self._sessions, self.health)
                    await self._queuer.run(
                        dequeue_timeout=POLL_INTERVAL,
                        batch_size=10,
                        max_concurrent_tasks=20,
                        shutdown_on_listener_failure=True,
                    )
            except Exception as error:  # noqa: BLE001 - nothing above handles it: log, wait, connect again
                logger.warning("jobs_interrupted", error=describe_error(error))
                self.health.failed()
            finally:
                self._queuer = None
            if not self._stopping.is_set():
                await asyncio.sleep(RESTART_DELAY_SECONDS)

    def stop(self) -> None:
        """Start no more jobs."""
        self._stopping.set()
        if self._queuer is not None:
            self._queuer.shutdown.set()


async def _keep_session_state(_connection: object) -> None:
    """Skip the statement that resets a connection after each use: PgQueuer's statements leave no session state."""


class ListeningDriver(AsyncpgPoolDriver):
    """Holds notifications back until PgQueuer listens.

    At its start PgQueuer sends itself a notification to check its listener, sometimes before the listener exists. It
    then failed after 10 seconds.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool)
        self._listens = asyncio.Event()

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        """Listen, and release the notifications."""
        await super().add_listener(channel, callback)
        self._listens.set()

    async def notify(self, channel: str, payload: str) -> None:
        """Notify all listeners, this process among them."""
        await self._listens.wait()
        await super().notify(channel, payload)


async def enqueue(session: AsyncSession, name: str, payload: bytes, *, delay: timedelta = timedelta(0)) -> None:
    """Run the task `name` after `delay` if, and only if, the session's transaction commits."""
    raw = await session.run_sync(lambda sync_session: begun_connection(sync_session.connection()))
    trace = current_traceparent()
    await Queries(AsyncpgDriver(raw)).enqueue(
        name,
        payload,
        execute_after=delay,
        headers={"traceparent": trace} if trace else None,
    )


async def purge_job_log(session: AsyncSession, *, before: datetime, limit: int = 10_000) -> int:
    """Delete one batch of PgQueuer's log and one of its statistics, from before a time; return the number of rows.

    PgQueuer itself never deletes them. Repeat it, in a transaction each, until it returns 0.
    """
    deleted = 0
    ctid: sa.ColumnElement[Any] = sa.literal_column("ctid")
    for table in _JOB_LOG:
        # Order by id, which rises with time: the statistics have no index on their time.
        oldest = sa.select(ctid, table.c.created).select_from(table).order_by(table.c.id).limit(limit).subquery()
        old = sa.select(ctid).select_from(oldest).where(oldest.c.created < before)
        # Select the rows by ctid: for this many ids the planner would read the whole table.
        in_batch = ctid == sa.func.any(sa.func.array(old.scalar_subquery()))
        deleted += await count_deleted(session, sa.delete(table).where(in_batch))
    return deleted


async def purge_held_jobs(session: AsyncSession, *, before: datetime, limit: int) -> list[HeldJob]:
    """Delete one batch of the jobs that failed their last attempt before a time; return them.

    Repeat it, in a transaction each, until it returns none.
    """
    held = await session.execute(_PURGE_HELD_JOBS, {"before": before, "limit": limit})
    return [HeldJob(job.id, job.entrypoint, job.updated.isoformat()) for job in held]


class JobFailed(Exception):
    """A job's function failed. PgQueuer stores the message, and the traceback, so it describes the error only."""


async def _without_values(running: Awaitable[None]) -> None:
    """Run a job's function. Raises: JobFailed instead of its error, whose message may quote personal data."""
    try:
        await running
    except Exception as error:  # noqa: BLE001 - every error is described
        failure = JobFailed(describe_error(error)).with_traceback(error.__traceback__)
        raise failure from None


def _install_task(queuer: PgQueuer, sessions: Sessions, *, name: str, options: _TaskOptions) -> None:
    def executor(parameters: EntrypointExecutorParameters) -> DatabaseRetryEntrypointExecutor:
        return DatabaseRetryEntrypointExecutor(
            parameters,
            max_attempts=options.attempts - 1,
            initial_delay=options.initial_delay,
            max_delay=options.max_delay,
        )

    async def run(job: Job) -> None:
        traceparent = (job.headers or {}).get("traceparent")
        with entry_span(
            f"job {name}",
            kind=SpanKind.CONSUMER,
            traceparent=str(traceparent) if traceparent else None,
            attributes={"orderly.job_id": str(job.id), "orderly.attempt": job.attempts + 1},
        ):
            await _without_values(options.task(sessions, job.payload or b""))

    queuer.entrypoint(name, executor_factory=executor, on_failure="hold", accepts_context=False)(run)


def _install_scheduled(
    queuer: PgQueuer, sessions: Sessions, health: JobHealth, *, name: str, expression: str, function: ScheduledTask
) -> None:
    async def run(_schedule: Schedule) -> None:
        entered = entry_span(f"schedule {name}", kind=SpanKind.INTERNAL, traceparent=None)
        with entered, health.running(name):
            await _without_values(function(sessions))

    queuer.schedule(name, expression, accepts_context=False)(run)
