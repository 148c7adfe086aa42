"""Scheduled maintenance of every service's tables: retention, daily partitions, the drain of dead letters."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.http.idempotency import purge_idempotency_keys
from shared.jobs import Jobs, purge_job_log
from shared.messaging.consumer.subscription import Subscription
from shared.messaging.dead_letters.store import purge_dead_letters
from shared.messaging.storage.daily_partitions import RETENTIONS, maintain_daily_partitions
from shared.operations.dead_letters import DeadLetterOperations
from shared.operations.positions import purge_position_actions
from shared.operations.runs import purge_operations

logger = structlog.get_logger(__name__)

IDEMPOTENCY_KEY_RETENTION = timedelta(hours=24)
JOB_LOG_RETENTION = timedelta(days=7)
DEAD_LETTER_RETENTION = timedelta(days=90)
"""Time since the resolution. It must exceed `INBOX_RETENTION`, during which Kafka may deliver a record again: an
undecodable record is recognised only by the offset of its dead letter."""
DEAD_LETTERS_BATCH = 1_000
OPERATION_RETENTION = timedelta(days=90)
"""Time since an operation's last page."""
OPERATIONS_BATCH = 1_000
POSITION_ACTION_RETENTION = timedelta(days=90)
POSITION_ACTIONS_BATCH = 1_000


def with_maintenance(jobs: Jobs, *, subscriptions: Mapping[str, Subscription]) -> Jobs:
    """Add the maintenance to a service's jobs. `subscriptions` holds the handlers for the drain, by consumer."""

    # Often, because a drop that does not get its lock at once is postponed.
    @jobs.every("*/5 * * * *")
    async def maintain_partitions(sessions: Sessions) -> None:
        await maintain_all_partitions(sessions, datetime.now(UTC))

    @jobs.every("*/10 * * * *")
    async def purge_old_idempotency_keys(sessions: Sessions) -> None:
        purge = partial(purge_idempotency_keys, older_than=IDEMPOTENCY_KEY_RETENTION)
        await purge_in_batches(sessions, purge)

    @jobs.every("37 * * * *")
    async def purge_old_job_log(sessions: Sessions) -> None:
        await purge_in_batches(sessions, partial(purge_job_log, older_than=JOB_LOG_RETENTION))

    jobs.every("23 * * * *")(purge_resolved_dead_letters)
    jobs.every("33 * * * *")(purge_ended_operations)
    jobs.every("43 * * * *")(purge_old_position_actions)

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


async def maintain_all_partitions(sessions: Sessions, now: datetime) -> None:
    """Create and drop daily partitions, each drop in a transaction of its own."""
    for parent in RETENTIONS:
        has_dropped = True
        while has_dropped:
            async with sessions.begin() as session:
                has_dropped = await maintain_daily_partitions(session, parent, today=now.date())


async def purge_resolved_dead_letters(sessions: Sessions) -> None:
    """Delete the dead letters whose resolution is past its retention."""
    purge = partial(purge_dead_letters, older_than=DEAD_LETTER_RETENTION, limit=DEAD_LETTERS_BATCH)
    if purged := await purge_in_batches(sessions, purge):
        logger.info("dead_letters_purged", dead_letters=purged)


async def purge_ended_operations(sessions: Sessions) -> None:
    """Delete the operations whose end is past its retention."""
    purge = partial(purge_operations, older_than=OPERATION_RETENTION, limit=OPERATIONS_BATCH)
    if purged := await purge_in_batches(sessions, purge):
        logger.info("operations_purged", operations=purged)


async def purge_old_position_actions(sessions: Sessions) -> None:
    """Delete the records of resets that are past their retention."""
    purge = partial(purge_position_actions, older_than=POSITION_ACTION_RETENTION, limit=POSITION_ACTIONS_BATCH)
    if purged := await purge_in_batches(sessions, purge):
        logger.info("position_actions_purged", actions=purged)


async def purge_in_batches(sessions: Sessions, purge_batch: Callable[[AsyncSession], Awaitable[int]]) -> int:
    """Purge in batches, each in a transaction, until nothing is left; return the number of rows."""
    total = 0
    while True:
        async with sessions.begin() as session:
            purged = await purge_batch(session)
        if not purged:
            return total
        total += purged
