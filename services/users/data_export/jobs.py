"""Jobs of exports: collect this service's own data, ask again for what is missing, purge; and their metrics."""

from datetime import datetime
from functools import partial
from typing import Any

import structlog
from prometheus_client import Gauge

from services.users.data_export import commands
from services.users.data_export.commands import FINISH_JOB, FinishJob
from services.users.data_export.own_data import COLLECTION
from services.users.settings import Settings
from shared.data_exports import collect_parts
from shared.database import Sessions
from shared.jobs import Jobs
from shared.maintenance import purge_in_batches, schedule_purge
from shared.measurements import Measurement

logger = structlog.get_logger(__name__)

BATCH_EXPORTS = 20
"""Exports per transaction. Each has some megabytes of parts."""

PENDING = Gauge("data_exports_pending", "Exports of users' data that are not ready yet, counted up to 10,000")
OLDEST = Gauge("data_exports_oldest_pending_seconds", "Time since the oldest of them was requested, 0 without one")


def with_data_exports(jobs: Jobs, *, settings: Settings) -> Jobs:
    """Add the jobs of exports to the service's."""

    @jobs.task(FINISH_JOB)
    async def finish_data_export(sessions: Sessions, payload: bytes) -> None:
        export_id = FinishJob.model_validate_json(payload).export_id
        async with sessions() as session:
            unfinished = await commands.unfinished_export(session, export_id)
        if unfinished is None:
            return
        user_id = unfinished.user_id
        sealed = await collect_parts(sessions, user_id, collection=COLLECTION, key=unfinished.key)
        async with sessions.begin() as session:
            is_ready = await commands.finish_export(
                session, export_id, user_id=user_id, sealed=sealed, lifetime=settings.data_export_lifetime
            )
        if is_ready:
            logger.info("data_export_ready", user_id=str(user_id), export_id=str(export_id))

    @jobs.every("* * * * *")
    async def request_missing_exports(sessions: Sessions) -> None:
        await purge_in_batches(sessions, partial(commands.request_again, limit=BATCH_EXPORTS))

    async def purge_expired_exports(sessions: Sessions, now: datetime) -> int:
        parts = await purge_in_batches(sessions, partial(commands.purge_parts, now=now, limit=BATCH_EXPORTS))
        return parts + await purge_in_batches(sessions, partial(commands.purge_exports, now=now, limit=BATCH_EXPORTS))

    schedule_purge(jobs, purge_expired_exports, "11 * * * *")
    return jobs


# now() bounds the scan by the index, which clock_timestamp() cannot.
_MEASURED = """
    SELECT json_build_object('pending', count(*), 'oldest', extract(epoch FROM now() - min(requested_at))) FROM (
        SELECT requested_at FROM data_export WHERE status = 'pending' ORDER BY requested_at LIMIT :max_counted
    ) AS e
"""


def _publish(found: dict[str, Any]) -> None:
    PENDING.set(found["pending"])
    OLDEST.set(found["oldest"] or 0)


DATA_EXPORTS = Measurement("data_exports", _MEASURED, _publish)
