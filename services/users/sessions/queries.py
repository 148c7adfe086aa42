"""Queries of sessions."""

from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.sessions import RevokedSession, SigningKey, UserSession
from shared.http.revocations import Revocations


def open_sessions_of(user_id: UUID) -> sa.Select[UserSession]:
    """Select the sessions that can still be refreshed, newest first."""
    return (
        sa.select(UserSession)
        .where(
            UserSession.user_id == user_id,
            UserSession.revoked_at.is_(None),
            UserSession.expires_at > sa.func.now(),
        )
        .order_by(UserSession.created_at.desc(), UserSession.id.desc())
    )


async def revocations_since(
    session: AsyncSession, *, since: datetime | None, tokens_valid_for: timedelta
) -> Revocations:
    """Return the sessions revoked since a time whose access tokens may be valid, and all withdrawn signing keys."""
    withdrawn = sa.select(SigningKey.kid).where(SigningKey.withdrawn_at.is_not(None))
    # The time is read first: what is revoked between the two statements is then found once more by the next read.
    as_of, keys = (
        await session.execute(sa.select(sa.func.clock_timestamp(), sa.func.array(withdrawn.scalar_subquery())))
    ).one()
    oldest = as_of - tokens_valid_for
    rows = await session.execute(
        sa.select(RevokedSession.session_id, RevokedSession.revoked_at)
        .where(RevokedSession.revoked_at > (oldest if since is None else max(since, oldest)))
        .order_by(RevokedSession.revoked_at)
    )
    return Revocations(
        as_of=as_of,
        sessions={row.session_id: row.revoked_at + tokens_valid_for for row in rows},
        withdrawn_keys=frozenset(keys),
    )
