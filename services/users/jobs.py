"""Work of the job queue: sessions and refresh tokens that have expired, and users that are republished."""

from collections.abc import Awaitable
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.commands import user_updated
from services.users.models import UserAccount
from services.users.session_commands import purge_expired_sessions, purge_expired_tokens
from shared.database import Sessions
from shared.jobs import Jobs
from shared.messaging.outbox.republish import Republishable

BATCH = 1_000

jobs = Jobs()

REPUBLISHED = (
    Republishable(
        "users",
        # Whoever is being erased must not come back.
        sa.select(UserAccount).where(UserAccount.status.in_(["active", "suspended"])),
        key=UserAccount.id,
        event_of=user_updated,
        changed_at=UserAccount.updated_at,
    ),
)


class _Purge(Protocol):
    def __call__(self, session: AsyncSession, *, limit: int) -> Awaitable[int]: ...


@jobs.every("*/10 * * * *")
async def clean_up_expired_sessions(sessions: Sessions) -> None:
    # Sessions first: most expired tokens go with theirs.
    for invalidate in (purge_expired_sessions, purge_expired_tokens):
        await _in_batches(sessions, invalidate)


async def _in_batches(sessions: Sessions, invalidate: _Purge) -> None:
    """A transaction each, so that no one waits long for a lock that a big clean-up holds."""
    forgotten = BATCH
    while forgotten == BATCH:
        async with sessions.begin() as session:
            forgotten = await invalidate(session, limit=BATCH)
