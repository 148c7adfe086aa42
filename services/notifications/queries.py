"""Reads: the notifications of a user."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from services.notifications.models import Notification


def notifications_of(user_id: UUID, *, unread_only: bool) -> sa.Select[Notification]:
    """The user's notifications, newest first: the ids sort by time."""
    query = sa.select(Notification).where(Notification.user_id == user_id).order_by(Notification.id.desc())
    return query.where(Notification.read_at.is_(None)) if unread_only else query


async def unread_count(session: AsyncSession, user_id: UUID, *, at_most: int) -> int:
    """How many the user has not read; counting stops at `at_most`."""
    unread: sa.Select[Any] = notifications_of(user_id, unread_only=True).with_only_columns(sa.literal(1))
    counted = sa.select(sa.func.count()).select_from(unread.order_by(None).limit(at_most).subquery())
    return await session.scalar(counted) or 0


async def notification_with_deliveries(session: AsyncSession, notification_id: UUID) -> Notification | None:
    """One notification and how it fared on each channel."""
    return await session.get(Notification, notification_id, options=[selectinload(Notification.deliveries)])
