"""Notifications about changes of second factors."""

from datetime import UTC, datetime

import sqlalchemy as sa

from services.notifications.models import Delivery, Notification
from shared.database import Sessions
from shared.events.users import SecondFactorChanged
from shared.ids import new_id
from tests.notifications.events import apply, user_created


async def test_a_changed_second_factor_is_told_by_mail(sessions: Sessions) -> None:
    user_id = new_id()
    changed = SecondFactorChanged(user_id=user_id, change="totp_added", occurred_at=datetime(2026, 11, 23, tzinfo=UTC))

    await apply(sessions, user_created(user_id), changed)

    async with sessions() as session:
        query = (
            sa.select(Notification.title, Notification.category, Delivery.status)
            .join(Delivery, Delivery.notification_id == Notification.id)
            .where(Notification.event_type == "user.second_factor_changed", Delivery.channel == "email")
        )
        assert [tuple(row) for row in await session.execute(query)] == [("Your sign-in changed", "account", "queued")]
