"""Queries of sessions."""

from uuid import UUID

import sqlalchemy as sa

from services.users.models.sessions import UserSession


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
