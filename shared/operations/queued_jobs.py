"""Jobs that do not go on: held after their last attempt, or overdue; and what operators do with held ones."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
import structlog
from pydantic import Field
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import NotFound
from shared.http.bodies import ResponseBody
from shared.operations.advice import STUCK_ORDERS, Advice
from shared.telemetry import trace_id_of

logger = structlog.get_logger(__name__)

OVERDUE_AFTER = timedelta(seconds=60)
"""Time for which a job or a scheduled task may be due without having begun."""

JobProblem = Literal["failed", "overdue"]
JobAction = Literal["retry", "discard"]

_JOB = sa.table(
    "pgqueuer",
    sa.column("id", sa.BigInteger),
    sa.column("entrypoint", sa.Text),
    sa.column("status", sa.Text),
    sa.column("attempts", sa.Integer),
    sa.column("created", sa.DateTime(timezone=True)),
    sa.column("execute_after", sa.DateTime(timezone=True)),
    sa.column("updated", sa.DateTime(timezone=True)),
    sa.column("headers", JSONB),
)
_LOG = sa.table(
    "pgqueuer_log",
    sa.column("job_id", sa.BigInteger),
    sa.column("created", sa.DateTime(timezone=True)),
    sa.column("traceback", JSONB),
)
_SCHEDULES = sa.text("""
    SELECT entrypoint, expression, next_run, last_run,
           greatest(0, extract(epoch FROM clock_timestamp() - next_run)) AS overdue
    FROM pgqueuer_schedules ORDER BY id LIMIT :limit
""")
_LOCK = sa.text("""
    SELECT id, entrypoint FROM pgqueuer WHERE id = ANY(CAST(:ids AS bigint[])) AND status = 'failed'
    ORDER BY id FOR UPDATE
""")
# As PgQueuer queues a held job again, and in the transaction of the record of who did it.
_RETRY = sa.text("""
    WITH queued AS (
        UPDATE pgqueuer SET
            status = 'queued', execute_after = now(), updated = now(), attempts = 0, queue_manager_id = NULL
        WHERE id = ANY(CAST(:ids AS bigint[])) RETURNING id, entrypoint, priority
    )
    INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority)
    SELECT id, 'queued', entrypoint, priority FROM queued
""")
_DISCARD = sa.text("""
    WITH discarded AS (
        DELETE FROM pgqueuer WHERE id = ANY(CAST(:ids AS bigint[])) RETURNING id, entrypoint, priority
    )
    INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority)
    SELECT id, 'deleted', entrypoint, priority FROM discarded
""")
_RECORD = sa.text("""
    INSERT INTO job_action (job_id, entrypoint, actor, action, note)
    SELECT job_id, entrypoint, :actor, :action, :note
    FROM unnest(CAST(:ids AS bigint[]), CAST(:entrypoints AS text[])) AS j (job_id, entrypoint)
""")
_PURGE_ACTIONS = sa.text("""
    WITH old AS (
        SELECT id FROM job_action WHERE acted_at < :before ORDER BY acted_at LIMIT :limit
    ), purged AS (
        DELETE FROM job_action WHERE id = ANY(ARRAY(SELECT id FROM old)) RETURNING id
    )
    SELECT count(*) FROM purged
""")


class JobNotFound(NotFound):
    """There is no such held job."""

    code = "job_not_found"


class HeldJob(NamedTuple):
    """A job that failed its last attempt, and that an operator has dealt with."""

    id: int
    task: str


class JobView(ResponseBody):
    """A job that does not go on by itself, or has not begun in time."""

    id: int = Field(examples=[17])
    task: str = Field(description="The name of the job's function.", examples=["erase_customer"])
    status: str = Field(
        description="`failed`: held after its last attempt. `queued`: it is due, and has not begun.",
        examples=["failed"],
    )
    retries: int = Field(description="Number of retries so far.", examples=[4])
    created_at: datetime
    due_at: datetime
    updated_at: datetime
    error: str | None = Field(
        description="The error of its last attempt, without values of rows.", examples=["CheckViolationError"]
    )
    trace_id: str | None = Field(examples=["4bf92f3577b34da6a3ce929d0e0e4736"])
    reason: str = Field(
        description="The reason for which it does not go on.", examples=["It failed 5 times and is held."]
    )
    advice: Advice


class ScheduleView(ResponseBody):
    """A scheduled task of a service."""

    task: str = Field(examples=["cancel_overdue_orders"])
    expression: str = Field(description="The cron expression; the sixth field is seconds.", examples=["* * * * * */5"])
    next_run_at: datetime
    last_run_at: datetime | None
    overdue_seconds: float = Field(description="The time for which it is due.", examples=[0.0])


class SchedulesView(ResponseBody):
    """The scheduled tasks of a service."""

    items: list[ScheduleView]


def stuck_jobs(problem: JobProblem) -> sa.Select[*tuple[Any, ...]]:
    """Select the columns of `job_view`, the oldest first."""
    error = (
        sa.select(_LOG.c.traceback["exception_message"].astext)
        .where(_LOG.c.job_id == _JOB.c.id, _LOG.c.traceback.is_not(None))
        .order_by(_LOG.c.created.desc())
        .limit(1)
        .scalar_subquery()
    )
    status = sa.cast(_JOB.c.status, sa.Text)
    columns = (_JOB.c.id, _JOB.c.entrypoint, status.label("status"), _JOB.c.attempts, _JOB.c.created)
    more = (_JOB.c.execute_after, _JOB.c.updated, error, _JOB.c.headers["traceparent"].astext)
    query = sa.select(*columns, *more).order_by(_JOB.c.id)
    if problem == "failed":
        return query.where(status == "failed")
    return query.where(status == "queued", _JOB.c.execute_after < sa.func.clock_timestamp() - OVERDUE_AFTER)


def job_view(service: str, *columns: Any) -> JobView:
    """Return the view of a job by the columns that `stuck_jobs` selects."""
    id_, task, status, retries, created, due, updated, error, traceparent = columns
    return JobView(
        id=id_,
        task=task,
        status=status,
        retries=retries,
        created_at=created,
        due_at=due,
        updated_at=updated,
        error=error,
        trace_id=trace_id_of(traceparent),
        reason=f"It failed {retries + 1} times and is held." if status == "failed" else "It is due and has not begun.",
        advice=_advice(service, id_, status),
    )


def _advice(service: str, job_id: int, status: str) -> Advice:
    if status == "failed":
        return Advice(
            text="Correct the cause of its error, then retry it.",
            command=f'python -m services.{service} jobs retry {job_id} --note "..."',
            route=f"POST /v1/operations/{service}/jobs/retries",
            runbook=STUCK_ORDERS,
        )
    return Advice(
        text=f"Look whether a process of {service} runs with the role jobs, and at `job_queue` in its health.",
        command=None,
        route="GET /health",
        runbook=STUCK_ORDERS,
    )


async def list_schedules(session: AsyncSession, *, limit: int = 100) -> list[ScheduleView]:
    """Return the scheduled tasks; also those of older versions, which nobody runs any more."""
    return [
        ScheduleView(
            task=row.entrypoint,
            expression=row.expression,
            next_run_at=row.next_run,
            last_run_at=row.last_run,
            overdue_seconds=float(row.overdue),
        )
        for row in await session.execute(_SCHEDULES, {"limit": limit})
    ]


async def act_on_jobs(
    session: AsyncSession, ids: Sequence[int], *, action: JobAction, actor: str, note: str
) -> list[HeldJob]:
    """Enqueue held jobs again with all their attempts, or delete them; record who did it.

    All of them, or none. Raises: JobNotFound, also for a job that is not held.
    """
    wanted = sorted(set(ids))
    jobs = [HeldJob(*row) for row in await session.execute(_LOCK, {"ids": wanted})]
    if missing := sorted(set(wanted) - {job.id for job in jobs}):
        raise JobNotFound(f"There is no held job {missing[0]}.")
    await session.execute(_RETRY if action == "retry" else _DISCARD, {"ids": wanted})
    entrypoints = [job.task for job in jobs]
    record = {"ids": [job.id for job in jobs], "entrypoints": entrypoints}
    await session.execute(_RECORD, {**record, "actor": actor, "action": action, "note": note})
    return jobs


def log_acted(jobs: Sequence[HeldJob], *, action: JobAction, actor: str) -> None:
    """Log what was done with held jobs, after its commit."""
    event = "held_job_retried" if action == "retry" else "held_job_discarded"
    for job in jobs:
        logger.warning(event, job_id=job.id, entrypoint=job.task, actor=actor)


async def purge_job_actions(session: AsyncSession, *, before: datetime, limit: int) -> int:
    """Delete one batch of the records of actions from before a time; return their number.

    Repeat it, in a transaction each, until it returns 0.
    """
    return await session.scalar(_PURGE_ACTIONS, {"before": before, "limit": limit}) or 0
