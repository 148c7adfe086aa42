"""Exports of a user's data: what the notifications service has of a user."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from services.notifications.models import Notification, Recipient
from shared.data_exports import Collection, ExportPart, RowList
from shared.events.exported_data import ExportedNotification, ExportedRecipient
from shared.events.notifications import RecipientExported
from shared.messaging.outbox.outbox import record


async def _recipient(session: AsyncSession, user_id: UUID) -> ExportedRecipient | None:
    recipient = await session.get(Recipient, user_id)
    return ExportedRecipient.model_validate(recipient) if recipient else None


def _notifications(user_id: UUID) -> sa.Select[Any]:
    """Select all notifications, also those that were only mailed, whose one-time tokens are left out."""
    return (
        sa.select(Notification)
        .where(Notification.user_id == user_id)
        .order_by(Notification.id)
        .options(selectinload(Notification.deliveries))
    )


COLLECTION = Collection(
    facts={"recipient": _recipient},
    lists={"notifications": RowList(_notifications, ExportedNotification.model_validate)},
)
"""The members of the type `NotificationsExport`."""


def record_part(session: AsyncSession, part: ExportPart) -> None:
    """Record the event of a part."""
    record(session, RecipientExported(**part._asdict()))
