"""Delayed and timed jobs on PostgreSQL (PgQueuer): enqueued in their transaction, retried with backoff."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import sqlalchemy as sa
import structlog
from pgqueuer import AsyncpgDriver, AsyncpgPoolDriver, DatabaseRetryEntrypointExecutor, PgQueuer, Queries
from pgqueuer.executors import EntrypointExecutorParameters
from pgqueuer.models import Job, Schedule
from pgqueuer.ports.driver import NotifyCallback
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.telemetry import continued_trace, current_traceparent

logger = structlog.get_logger(__name__)

Task = Callable[[Sessions, bytes], Awaitable[None]]
Timed = Callable[[Sessions], Awaitable[None]]

POLL = timedelta(seconds=5)
"""Upper bound of a job's wait if its wake-up was lost."""
RESTART_DELAY_SECONDS = 2.0

_JOB_LOG = tuple(
    sa.table(name, sa.column("id"), sa.column("created")) for name in ("pgqueuer_log", "pgqueuer_statistics")
)


@dataclass(frozen=True)
class _TaskOptions:
    task: Task
    attempts: int
    initial_delay: timedelta
    max_delay: timedelta
    concurrency: int


class Jobs:
    """The job functions of one service. A job may run twice: its transaction checks what is still to do."""

    def __init__(self) -> None:
        self._tasks: dict[str, _TaskOptions] = {}
        self._timed: dict[str, tuple[str, Timed]] = {}

    def task(
        self,
        name: str,
        *,
        attempts: int = 5,
        initial_delay: timedelta = timedelta(seconds=1),
        max_delay: timedelta = timedelta(minutes=5),
        concurrency: int = 0,
    ) -> Callable[[Task], Task]:
        """Register the function for jobs enqueued under `name`.

        A job that raises is retried after `initial_delay`, doubling to `max_delay`. After `attempts` it is held with
        the status failed, for an operator. `concurrency` limits how many run at once in all processes.
        """

        def register(function: Task) -> Task:
            self._tasks[name] = _TaskOptions(function, attempts, initial_delay, max_delay, concurrency)
            return function

        return register

    def every(self, expression: str) -> Callable[[Timed], Timed]:
        """Register timed work: cron with an optional sixth field for seconds. One process at a time runs it."""

        def register(function: Timed) -> Timed:
            self._timed[function.__name__] = (expression, function)
            return function

        return register

    def install(self, queuer: PgQueuer, sessions: Sessions) -> None:
        """Register the functions at a queue manager."""
        for name, options in self._tasks.items():
            _install_task(queuer, sessions, name=name, options=options)
        for name, (expression, function) in self._timed.items():
            _install_timed(queuer, sessions, name=name, expression=expression, function=function)


class JobRunner:
    """Runs a service's jobs until stopped, reconnecting after database errors."""

    def __init__(self, jobs: Jobs, *, dsn: str, sessions: Sessions) -> None:
        self._jobs = jobs
        self._dsn = dsn
        self._sessions = sessions
        self._stopping = asyncio.Event()
        self._queuer: PgQueuer | None = None

    async def run(self) -> None:
        """Run jobs until `stop`, then let those in hand end."""
        while not self._stopping.is_set():
            try:
                async with asyncpg.create_pool(self._dsn, min_size=1, max_size=4, timeout=5) as pool:
                    self._queuer = PgQueuer(_Driver(pool))
                    self._jobs.install(self._queuer, self._sessions)
                    await self._queuer.run(
                        dequeue_timeout=POLL, batch_size=10, max_concurrent_tasks=20, shutdown_on_listener_failure=True
                    )
            except Exception as error:  # noqa: BLE001 - the runner is the edge: log, wait, start again
                logger.warning("jobs_interrupted", error=repr(error))
            finally:
                self._queuer = None
            if not self._stopping.is_set():
                await asyncio.sleep(RESTART_DELAY_SECONDS)

    def stop(self) -> None:
        """Take no more jobs."""
        self._stopping.set()
        if self._queuer is not None:
            self._queuer.shutdown.set()


class _Driver(AsyncpgPoolDriver):
    """A driver whose notifications wait until it listens.

    PgQueuer 1.6 checks its listener's health as it starts, at times before the listener exists, and gives up after
    10 s. There is no upstream issue.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        super().__init__(pool)
        self._listens = asyncio.Event()

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        """Listen to a channel, and let notifications through from then on."""
        await super().add_listener(channel, callback)
        self._listens.set()

    async def notify(self, channel: str, payload: str) -> None:
        """Notify the listeners of a channel, once this process listens too."""
        await self._listens.wait()
        await super().notify(channel, payload)


async def enqueue(
    session: AsyncSession, name: str, payload: bytes, *, delay: timedelta = timedelta(0), dedupe_key: str | None = None
) -> None:
    """Run the task `name` after `delay` if, and only if, the session's transaction commits."""
    # The driver begins the transaction with the first statement: without one the job would commit at once.
    await session.execute(sa.text("SELECT 1"))
    connection = await (await session.connection()).get_raw_connection()
    raw: asyncpg.Connection[asyncpg.Record] = connection.driver_connection  # type: ignore[assignment]  # untyped there
    trace = current_traceparent()
    await Queries(AsyncpgDriver(raw)).enqueue(
        name,
        payload,
        execute_after=delay,
        dedupe_key=dedupe_key,
        headers={"traceparent": trace} if trace else None,
    )


async def purge_job_log(session: AsyncSession, *, older_than: timedelta, limit: int = 10_000) -> int:
    """Delete one batch of PgQueuer's log of ended jobs and of its statistics; return the number of rows.

    PgQueuer itself never does. Repeat, a transaction each, until it returns 0.
    """
    deleted = 0
    ctid: sa.ColumnElement[Any] = sa.literal_column("ctid")
    for table in _JOB_LOG:
        # By id, which rises with time: the statistics have no index on their time.
        oldest = sa.select(ctid, table.c.created).select_from(table).order_by(table.c.id).limit(limit).subquery()
        old = sa.select(ctid).select_from(oldest).where(oldest.c.created < sa.func.now() - older_than)
        # By ctid: for that many ids the planner would read the whole table.
        of_batch = ctid == sa.func.any(sa.func.array(old.scalar_subquery()))
        gone = await session.scalars(sa.delete(table).where(of_batch).returning(sa.literal(1)))
        deleted += len(gone.all())
    return deleted


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
        with continued_trace(str(traceparent) if traceparent else None):
            await options.task(sessions, job.payload or b"")

    queuer.entrypoint(
        name, executor_factory=executor, on_failure="hold", concurrency_limit=options.concurrency, accepts_context=False
    )(run)


def _install_timed(queuer: PgQueuer, sessions: Sessions, *, name: str, expression: str, function: Timed) -> None:
    async def run(_schedule: Schedule) -> None:
        with continued_trace(None):
            await function(sessions)

    queuer.schedule(name, expression, accepts_context=False)(run)
