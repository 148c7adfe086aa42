"""Jobs of the users service: purging expired sessions, tokens and devices; and what it republishes."""

from functools import partial

import sqlalchemy as sa

from services.users.accounts.commands import user_updated
from services.users.credentials.commands import purge_expired_devices
from services.users.models.accounts import UserAccount
from services.users.one_time_tokens.commands import purge_one_time_tokens
from services.users.sessions.commands import purge_expired_sessions, purge_expired_tokens
from shared.database import Sessions
from shared.jobs import Jobs
from shared.maintenance import purge_in_batches
from shared.messaging.outbox.republish import Republishable

BATCH_SIZE = 1_000
"""Rows per transaction. More would hold their locks for longer."""

jobs = Jobs()

REPUBLISHED = (
    Republishable(
        "users",
        # Of an erased user nothing is left to send.
        sa.select(UserAccount).where(UserAccount.personal_key.is_not(None)),
        key=UserAccount.id,
        event_of=user_updated,
        changed_at=UserAccount.updated_at,
    ),
)


@jobs.every("*/10 * * * *")
async def purge_sessions(sessions: Sessions) -> None:
    """Purge expired sessions, whose tokens go with them, and then the expired tokens of open sessions."""
    for purge in (purge_expired_sessions, purge_expired_tokens):
        await purge_in_batches(sessions, partial(purge, limit=BATCH_SIZE))


@jobs.every("7 * * * *")
async def purge_expired_one_time_tokens(sessions: Sessions) -> None:
    """Purge the one-time tokens that have expired, with the addresses that they were sent to."""
    await purge_in_batches(sessions, partial(purge_one_time_tokens, limit=BATCH_SIZE))


@jobs.every("20 3 * * *")
async def purge_devices(sessions: Sessions) -> None:
    """Purge the devices that are not known any more."""
    await purge_in_batches(sessions, partial(purge_expired_devices, limit=BATCH_SIZE))
