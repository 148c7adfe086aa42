"""Jobs of the users service: purging expired sessions and tokens; and what it republishes."""

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


class _Purge(Protocol):
    def __call__(self, session: AsyncSession, *, limit: int) -> Awaitable[int]: ...


@jobs.every("*/10 * * * *")
async def purge_sessions(sessions: Sessions) -> None:
    """Purge expired sessions, whose tokens go with them, and then the expired tokens of open sessions."""
    for purge in (purge_expired_sessions, purge_expired_tokens):
        await _purge_in_batches(sessions, purge)


async def _purge_in_batches(sessions: Sessions, purge: _Purge) -> None:
    """Purge batch by batch, each in a transaction of its own, until a batch is not full."""
    purged = BATCH_SIZE
    while purged == BATCH_SIZE:
        async with sessions.begin() as session:
            purged = await purge(session, limit=BATCH_SIZE)
