"""Scheduled maintenance of every service's tables: retention, daily partitions, the drain of dead letters."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.http.idempotency import purge_idempotency_keys
from shared.jobs import HeldJob, Jobs, purge_held_jobs, purge_job_log
from shared.messaging.consumer.positions import purge_positions
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.dead_letters.store import purge_dead_letters
from shared.messaging.outbox.streams import purge_streams
from shared.messaging.storage.daily_partitions import RETENTIONS, maintain_daily_partitions
from shared.operations.dead_letters import DeadLetterOperations
from shared.operations.positions import purge_position_actions
from shared.operations.queued_jobs import purge_job_actions
from shared.operations.runs import purge_operations

logger = structlog.get_logger(__name__)

IDEMPOTENCY_KEY_RETENTION = timedelta(hours=24)
JOB_LOG_RETENTION = timedelta(days=7)
HELD_JOB_RETENTION = timedelta(days=30)
"""Time that a job that failed its last attempt waits for an operator."""
DEAD_LETTER_RETENTION = timedelta(days=90)
"""Time that a dead letter waits for an operator, and time that it is kept after its resolution. The latter must exceed
`INBOX_RETENTION`, during which Kafka may deliver a record again: an undecodable record is recognised only by the offset
of its dead letter."""
OPERATION_RETENTION = timedelta(days=90)
"""Time since an operation's last page."""
POSITION_ACTION_RETENTION = timedelta(days=90)
JOB_ACTION_RETENTION = timedelta(days=90)
BATCH_ROWS = 1_000
"""Rows per transaction of a purge. More would hold their locks for longer."""

Purge = Callable[[Sessions, datetime], Awaitable[int]]
"""Deletes what is past its retention at the given time, in batches, and returns how many rows."""


async def purge_old_idempotency_keys(sessions: Sessions, now: datetime) -> int:
    """Delete the idempotency keys past their retention."""
    return await purge_in_batches(sessions, partial(purge_idempotency_keys, before=now - IDEMPOTENCY_KEY_RETENTION))


async def purge_old_job_log(sessions: Sessions, now: datetime) -> int:
    """Delete the job queue's log and statistics past their retention."""
    return await purge_in_batches(sessions, partial(purge_job_log, before=now - JOB_LOG_RETENTION))


async def purge_failed_jobs(sessions: Sessions, now: datetime) -> int:
    """Delete the jobs that failed their last attempt, and that no operator has queued again in time; log each."""

    async def purge_batch() -> list[HeldJob]:
        async with sessions.begin() as session:
            return await purge_held_jobs(session, before=now - HELD_JOB_RETENTION, limit=BATCH_ROWS)

    total = 0
    while purged := await purge_batch():
        total += len(purged)
        for job in purged:
            # Its work was not done.
            logger.error("held_job_purged", job_id=job.id, entrypoint=job.entrypoint, held_since=job.held_since)
    return total


async def purge_resolved_dead_letters(sessions: Sessions, now: datetime) -> int:
    """Delete the dead letters whose resolution is past its retention."""
    purge = partial(purge_dead_letters, before=now - DEAD_LETTER_RETENTION, limit=BATCH_ROWS)
    return await purge_in_batches(sessions, purge)


async def purge_ended_operations(sessions: Sessions, now: datetime) -> int:
    """Delete the operations whose end is past its retention."""
    purge = partial(purge_operations, before=now - OPERATION_RETENTION, limit=BATCH_ROWS)
    return await purge_in_batches(sessions, purge)


async def purge_old_position_actions(sessions: Sessions, now: datetime) -> int:
    """Delete the records of resets that are past their retention."""
    purge = partial(purge_position_actions, before=now - POSITION_ACTION_RETENTION, limit=BATCH_ROWS)
    return await purge_in_batches(sessions, purge)


async def purge_old_job_actions(sessions: Sessions, now: datetime) -> int:
    """Delete the records of what was done with held jobs that are past their retention."""
    purge = partial(purge_job_actions, before=now - JOB_ACTION_RETENTION, limit=BATCH_ROWS)
    return await purge_in_batches(sessions, purge)


async def purge_idle_positions(sessions: Sessions, now: datetime) -> int:
    """Delete the positions of keys that have had no event for long."""
    return await purge_in_batches(sessions, partial(purge_positions, today=now.date(), limit=BATCH_ROWS))


async def purge_idle_streams(sessions: Sessions, now: datetime) -> int:
    """Delete the event streams of keys that have had no event for long."""
    return await purge_streams(sessions, today=now.date())


PURGES: Mapping[Purge, str] = {
    purge_old_idempotency_keys: "*/10 * * * *",
    purge_old_job_log: "37 * * * *",
    purge_failed_jobs: "43 * * * *",
    purge_resolved_dead_letters: "23 * * * *",
    purge_ended_operations: "33 * * * *",
    purge_old_position_actions: "13 * * * *",
    purge_old_job_actions: "17 * * * *",
    purge_idle_positions: "47 * * * *",
    purge_idle_streams: "53 * * * *",
}
"""The purges of the tables that every service has, and when each runs."""


def with_maintenance(jobs: Jobs, *, subscriptions: Mapping[str, Subscription]) -> Jobs:
    """Add the maintenance to a service's jobs. `subscriptions` holds the handlers for the drain, by consumer."""
    for purge, schedule in PURGES.items():
        schedule_purge(jobs, purge, schedule)

    # Often, because a drop that does not get its lock at once is postponed.
    @jobs.every("*/5 * * * *")
    async def maintain_partitions(sessions: Sessions) -> None:
        await maintain_all_partitions(sessions, datetime.now(UTC))

    @jobs.every("3 * * * *")
    async def expire_dead_letters(sessions: Sessions) -> None:
        before = datetime.now(UTC) - DEAD_LETTER_RETENTION
        await DeadLetterOperations(sessions, subscriptions).expire(before=before)

    # The sixth field is seconds: every five seconds.
    @jobs.every("* * * * * */5")
    async def drain_dead_letters(sessions: Sessions) -> None:
        applied = await DeadLetterOperations(sessions, subscriptions).drain()
        if applied:
            logger.info("dead_letters_drained", events=applied)

    return jobs


def schedule_purge(jobs: Jobs, purge: Purge, schedule: str) -> None:
    """Run a purge by a cron expression, and log how many rows it deleted."""

    async def run(sessions: Sessions) -> None:
        if rows := await purge(sessions, datetime.now(UTC)):
            logger.info("rows_purged", purge=name, rows=rows)

    # The schedule is stored under the function's name.
    name = run.__name__ = getattr(purge, "__name__", repr(purge))
    jobs.every(schedule)(run)


async def maintain_all_partitions(sessions: Sessions, now: datetime) -> None:
    """Create and drop daily partitions, each drop in a transaction of its own."""

    async def maintain(parent: str) -> str | None:
        async with sessions.begin() as session:
            return await maintain_daily_partitions(session, parent, today=now.date())

    for parent in RETENTIONS:
        while dropped := await maintain(parent):
            logger.info("daily_partition_dropped", table=dropped)


async def purge_in_batches(sessions: Sessions, purge_batch: Callable[[AsyncSession], Awaitable[int]]) -> int:
    """Purge in batches, each in a transaction, until nothing is left; return the number of rows."""
    total = 0
    while True:
        async with sessions.begin() as session:
            purged = await purge_batch(session)
        if not purged:
            return total
        total += purged
