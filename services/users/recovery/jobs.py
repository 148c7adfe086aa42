"""Jobs of recovery: the work of requests that must not tell whether an account exists, and a timed purge."""

from datetime import datetime, timedelta
from functools import partial

import structlog

from services.users.accounts.sign_ups import SIGN_UP_JOB, NewUser, sign_up_or_tell
from services.users.encryption import Encryption
from services.users.one_time_tokens.commands import TooManyLinks, token_policy
from services.users.one_time_tokens.requests import RESET_LINK_JOB, ResetLinkRequest
from services.users.recovery import commands
from services.users.recovery.unverified_accounts import purge_unverified
from services.users.settings import Settings
from shared.database import Sessions
from shared.jobs import Jobs
from shared.maintenance import purge_in_batches, schedule_purge

logger = structlog.get_logger(__name__)

BATCH_ACCOUNTS = 100
"""Accounts per transaction. Each is an event and an entry of the security record."""


def with_recovery(jobs: Jobs, *, settings: Settings, encryption: Encryption) -> Jobs:
    """Add the jobs of recovery to the service's."""

    @jobs.task(RESET_LINK_JOB)
    async def mail_reset_link(sessions: Sessions, payload: bytes) -> None:
        request = ResetLinkRequest.model_validate_json(encryption.decrypt(payload.decode()))
        try:
            async with sessions.begin() as session:
                user_id = await commands.mail_reset_link(session, request, policy=token_policy(settings))
        except TooManyLinks:
            return
        if user_id is not None:
            logger.info("password_reset_requested", user_id=str(user_id))

    @jobs.task(SIGN_UP_JOB)
    async def sign_up(sessions: Sessions, payload: bytes) -> None:
        user = NewUser.model_validate_json(encryption.decrypt(payload.decode()))
        async with sessions.begin() as session:
            is_new = await sign_up_or_tell(session, user, settings=settings)
        if is_new:
            logger.info("user_signed_up", user_id=str(user.user_id))

    async def purge_unverified_accounts(sessions: Sessions, now: datetime) -> int:
        before = now - timedelta(days=settings.unverified_account_days)
        return await purge_in_batches(sessions, partial(purge_unverified, before=before, limit=BATCH_ACCOUNTS))

    schedule_purge(jobs, purge_unverified_accounts, "17 * * * *")
    return jobs
