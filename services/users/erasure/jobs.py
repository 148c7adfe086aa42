"""Jobs of erasures: finish those that every service has acknowledged, and ask again for the others."""

from uuid import UUID

import structlog

from services.users.encryption import Encryption
from services.users.erasure import commands
from services.users.erasure.commands import FINISH_JOB
from shared.database import Sessions
from shared.jobs import Jobs

logger = structlog.get_logger(__name__)

BATCH_ERASURES = 100
"""Erasures that are asked for again per transaction."""


def add_erasure_jobs(jobs: Jobs, *, encryption: Encryption) -> Jobs:
    """Add the jobs to the service's. `encryption` opens the payloads of other jobs, which may hold addresses."""

    @jobs.task(FINISH_JOB)
    async def finish_erasure(sessions: Sessions, payload: bytes) -> None:
        erasure_id = UUID(payload.decode())
        async with sessions.begin() as session:
            user_id = await commands.finish(session, erasure_id=erasure_id, encryption=encryption)
        if user_id is not None:
            logger.info("user_erased", user_id=str(user_id), erasure_id=str(erasure_id))

    jobs.every("* * * * *")(ask_for_erasures_again)
    return jobs


async def ask_for_erasures_again(sessions: Sessions) -> None:
    """Ask the services again that have not acknowledged an erasure, with backoff."""
    while True:
        async with sessions.begin() as session:
            asked = await commands.ask_again_if_due(session, limit=BATCH_ERASURES)
        for erasure_id in asked:
            logger.warning("erasure_asked_again", erasure_id=str(erasure_id))
        if len(asked) < BATCH_ERASURES:
            return
