"""Jobs of the users service: purging expired sessions, tokens and challenges; and what it republishes."""

from functools import partial

import sqlalchemy as sa

from services.users.accounts.commands import user_updated
from services.users.models.accounts import UserAccount
from services.users.passkeys.challenges import purge_expired_passkey_challenges
from services.users.sessions.challenges import purge_expired_challenges
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
        sa.select(UserAccount),
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


@jobs.every("*/10 * * * *")
async def purge_challenges(sessions: Sessions) -> None:
    """Purge the challenges of sign-ins and of passkeys that were not answered in time."""
    for purge in (purge_expired_challenges, purge_expired_passkey_challenges):
        await purge_in_batches(sessions, partial(purge, limit=BATCH_SIZE))
