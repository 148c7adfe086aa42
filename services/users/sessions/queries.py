"""Queries of sessions."""

from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.users.models.sessions import UserSession
from shared.http.revocations import Revocations

# One statement, since every process that verifies tokens causes one each second. There is a row without a session if
# none was revoked.
_REVOCATIONS = sa.text("""
    SELECT statement_timestamp() AS as_of,
           ARRAY(SELECT kid FROM signing_key WHERE withdrawn_at IS NOT NULL) AS withdrawn_keys,
           r.session_id, r.revoked_at
    FROM (VALUES (1)) AS one LEFT JOIN revoked_session r
        ON r.revoked_at > statement_timestamp() - CAST(:valid_for AS interval)
        AND r.revoked_at > COALESCE(CAST(:since AS timestamptz), '-infinity')
    ORDER BY r.revoked_at
""")


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
    rows = (await session.execute(_REVOCATIONS, {"since": since, "valid_for": tokens_valid_for})).all()
    return Revocations(
        as_of=rows[0].as_of,
        sessions={row.session_id: row.revoked_at + tokens_valid_for for row in rows if row.session_id is not None},
        withdrawn_keys=frozenset(rows[0].withdrawn_keys),
    )
