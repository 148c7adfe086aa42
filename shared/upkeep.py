"""Timed work that every service's tables need."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import Sessions
from shared.http.idempotency import forget_old_keys
from shared.jobs import Jobs, forget_job_log
from shared.messaging.dead_letter import forget_resolved
from shared.messaging.partitions import keep_partitions
from shared.messaging.subscription import Subscription
from shared.operations.parked import ParkedOperations
from shared.operations.runs import forget_ended

logger = structlog.get_logger(__name__)

IDEMPOTENCY_KEYS_KEPT = timedelta(hours=24)
IDEMPOTENCY_KEYS_BATCH = 10_000
JOB_LOG_KEPT = timedelta(days=7)
PARKED_EVENTS_KEPT = timedelta(days=90)
"""After they were resolved, with what was done about them.

Longer than a record can come again, which is the topics' retention and the replay window (`inbox.RETENTION`, 21 days):
of one that could not be read, its place in Kafka is all that tells that it was parked before.
"""
PARKED_EVENTS_BATCH = 1_000
OPERATIONS_KEPT = timedelta(days=90)
"""After their last page."""
OPERATIONS_BATCH = 1_000


def with_upkeep(jobs: Jobs, *, consumers: Mapping[str, Subscription]) -> Jobs:
    """Add the upkeep to a service's own jobs; `consumers` apply its parked events."""

    @jobs.every("13 * * * *")
    async def upkeep_of_partitions(sessions: Sessions) -> None:
        async with sessions.begin() as session:
            await keep_partitions(session)

    @jobs.every("*/10 * * * *")
    async def upkeep_of_idempotency_keys(sessions: Sessions) -> None:
        old = partial(forget_old_keys, older_than=IDEMPOTENCY_KEYS_KEPT, limit=IDEMPOTENCY_KEYS_BATCH)
        await _delete_in_batches(sessions, old)

    @jobs.every("37 * * * *")
    async def upkeep_of_job_log(sessions: Sessions) -> None:
        await _delete_in_batches(sessions, partial(forget_job_log, older_than=JOB_LOG_KEPT))

    jobs.every("23 * * * *")(upkeep_of_parked_events)
    jobs.every("33 * * * *")(upkeep_of_operations)

    # Seconds are cron's sixth field, the last.
    @jobs.every("* * * * * */5")
    async def drain_parked_events(sessions: Sessions) -> None:
        applied = await ParkedOperations(sessions, consumers).drain()
        if applied:
            logger.info("parked_events_drained", events=applied)

    return jobs


async def upkeep_of_parked_events(sessions: Sessions) -> None:
    """Delete those that were resolved long ago."""
    old = partial(forget_resolved, older_than=PARKED_EVENTS_KEPT, limit=PARKED_EVENTS_BATCH)
    if deleted := await _delete_in_batches(sessions, old):
        logger.info("parked_events_forgotten", events=deleted)


async def upkeep_of_operations(sessions: Sessions) -> None:
    """Delete those that ended long ago."""
    old = partial(forget_ended, older_than=OPERATIONS_KEPT, limit=OPERATIONS_BATCH)
    if deleted := await _delete_in_batches(sessions, old):
        logger.info("operations_forgotten", operations=deleted)


async def _delete_in_batches(sessions: Sessions, delete_batch: Callable[[AsyncSession], Awaitable[int]]) -> int:
    """A transaction each, until there is nothing left; returns how many rows there were."""
    total = 0
    while True:
        async with sessions.begin() as session:
            deleted = await delete_batch(session)
        if not deleted:
            return total
        total += deleted
