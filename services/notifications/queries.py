"""Queries of the notifications service."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from services.notifications.models import Notification
from shared.errors import NotFound
from shared.http.auth import Permit

ONLY_MAILED = "only mailed"
"""The kind of notifications that no user finds in the list."""


class NotificationNotFound(NotFound):
    """There is no such notification."""

    code = "notification_not_found"


def notifications_of(user_id: UUID, *, unread_only: bool) -> sa.Select[Notification]:
    """Select a user's notifications, newest first since ids sort by age."""
    query = (
        sa.select(Notification)
        .where(Notification.user_id == user_id, Notification.in_app)
        .order_by(Notification.id.desc())
    )
    return query.where(Notification.read_at.is_(None)) if unread_only else query


async def unread_count(session: AsyncSession, user_id: UUID, *, at_most: int) -> int:
    """Return how many notifications the user has not read. Counting stops at `at_most`."""
    unread: sa.Select[Any] = notifications_of(user_id, unread_only=True).with_only_columns(sa.literal(1))
    counted = sa.select(sa.func.count()).select_from(unread.order_by(None).limit(at_most).subquery())
    return await session.scalar(counted) or 0


async def notification_with_deliveries(session: AsyncSession, notification_id: UUID, *, permit: Permit) -> Notification:
    """Return a notification with its deliveries. Raises: NotificationNotFound, or the denial of the permit."""
    notification = await session.get(Notification, notification_id, options=[selectinload(Notification.deliveries)])
    if notification is None:
        raise NotificationNotFound
    if notification.in_app:
        permit.check_owner(notification.user_id)
    else:
        permit.check(ONLY_MAILED)
    return notification
