"""Timed work that every service's tables need."""

from collections.abc import Mapping
from datetime import timedelta

import structlog

from shared.database import Sessions
from shared.http.idempotency import forget_old_keys
from shared.jobs import Jobs
from shared.messaging.partitions import keep_partitions
from shared.messaging.subscription import Subscription
from shared.operations.parked import ParkedOperations

logger = structlog.get_logger(__name__)

IDEMPOTENCY_KEYS_KEPT = timedelta(hours=24)
IDEMPOTENCY_KEYS_BATCH = 10_000


def with_upkeep(jobs: Jobs, *, consumers: Mapping[str, Subscription]) -> Jobs:
    """Add the upkeep to a service's own jobs; `consumers` apply its parked events."""

    @jobs.every("13 * * * *")
    async def upkeep_of_partitions(sessions: Sessions) -> None:
        async with sessions.begin() as session:
            await keep_partitions(session)

    @jobs.every("*/10 * * * *")
    async def upkeep_of_idempotency_keys(sessions: Sessions) -> None:
        deleted = IDEMPOTENCY_KEYS_BATCH
        while deleted == IDEMPOTENCY_KEYS_BATCH:
            async with sessions.begin() as session:
                deleted = await forget_old_keys(session, older_than=IDEMPOTENCY_KEYS_KEPT, limit=IDEMPOTENCY_KEYS_BATCH)

    # Seconds are cron's sixth field, the last.
    @jobs.every("* * * * * */10")
    async def drain_parked_events(sessions: Sessions) -> None:
        applied = await ParkedOperations(sessions, consumers).drain()
        if applied:
            logger.info("parked_events_drained", events=applied)

    return jobs
