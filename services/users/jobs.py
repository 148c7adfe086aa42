"""Jobs of the users service: purging what has expired; and what it republishes."""

from datetime import timedelta
from functools import partial

import sqlalchemy as sa
import structlog

from services.users.accounts.commands import user_updated
from services.users.credentials.commands import purge_expired_devices
from services.users.models.accounts import UserAccount
from services.users.one_time_tokens.commands import purge_one_time_tokens
from services.users.passkeys.challenges import purge_expired_passkey_challenges
from services.users.security_record.commands import purge_failed_sign_ins
from services.users.sessions.challenges import purge_expired_challenges
from services.users.sessions.revocation import (
    purge_expired_sessions,
    purge_expired_tokens,
    purge_revocations,
    remove_old_successors,
)
from services.users.sessions.signing_keys import purge_old_keys
from shared.database import Sessions
from shared.jobs import Jobs
from shared.maintenance import purge_in_batches
from shared.messaging.outbox.republish import Republishable

logger = structlog.get_logger(__name__)

BATCH_SIZE = 1_000
"""Rows per transaction. More would hold their locks for longer."""
MAX_GRACE = timedelta(seconds=60)
"""The longest grace of a used refresh token that the settings allow."""
MAX_TOKEN_LIFETIME = timedelta(hours=2)
"""More than the longest lifetime of an access token that the settings allow, with the clocks' tolerance."""

jobs = Jobs()

REPUBLISHED = (
    Republishable(
        "users",
        # Nothing of erased users can be sent, and what is sent of those that are being erased would have to be erased.
        sa.select(UserAccount).where(
            UserAccount.personal_key.is_not(None), UserAccount.status.in_(("active", "suspended"))
        ),
        key=UserAccount.id,
        event_of=user_updated,
        changed_at=UserAccount.updated_at,
    ),
)


@jobs.every("*/10 * * * *")
async def purge_sessions(sessions: Sessions) -> None:
    """Purge expired sessions, whose tokens go with them, then the expired tokens of open sessions, and the rest."""
    for purge in (
        purge_expired_sessions,
        purge_expired_tokens,
        purge_expired_challenges,
        purge_expired_passkey_challenges,
        partial(purge_revocations, before=MAX_TOKEN_LIFETIME),
    ):
        await purge_in_batches(sessions, partial(purge, limit=BATCH_SIZE))


@jobs.every("7 * * * *")
async def purge_expired_one_time_tokens(sessions: Sessions) -> None:
    """Purge the one-time tokens that have expired, with the addresses that they were sent to."""
    await purge_in_batches(sessions, partial(purge_one_time_tokens, limit=BATCH_SIZE))


@jobs.every("20 3 * * *")
async def purge_devices(sessions: Sessions) -> None:
    """Purge the devices that are not known any more."""
    await purge_in_batches(sessions, partial(purge_expired_devices, limit=BATCH_SIZE))


@jobs.every("35 3 * * *")
async def purge_old_failed_sign_ins(sessions: Sessions) -> None:
    """Purge the failed sign-ins that the security record has had for long enough."""
    await purge_in_batches(sessions, partial(purge_failed_sign_ins, limit=BATCH_SIZE))


@jobs.every("* * * * *")
async def remove_successors(sessions: Sessions) -> None:
    """Remove the successors of used refresh tokens that nobody gets any more."""
    await purge_in_batches(sessions, partial(remove_old_successors, grace=MAX_GRACE, limit=BATCH_SIZE))


@jobs.every("7 * * * *")
async def purge_signing_keys(sessions: Sessions) -> None:
    """Delete the signing keys whose last token has expired."""
    async with sessions.begin() as session:
        purged = await purge_old_keys(session, verified_for=MAX_TOKEN_LIFETIME)
    if purged:
        logger.info("signing_keys_purged", keys=purged)
