"""Timed work that every service's tables need."""

from datetime import timedelta

from shared.database import Sessions
from shared.http.idempotency import forget_old_keys
from shared.jobs import Jobs
from shared.messaging.partitions import keep_partitions

IDEMPOTENCY_KEYS_KEPT = timedelta(hours=24)
IDEMPOTENCY_KEYS_BATCH = 10_000


def with_upkeep(jobs: Jobs) -> Jobs:
    """Add the upkeep to a service's own jobs."""

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

    return jobs
