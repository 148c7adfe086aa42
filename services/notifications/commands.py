"""Commands: replace a recipient, notify a user, mark a notification as read."""

from collections.abc import Mapping
from uuid import UUID

import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications.deliveries import enqueue_delivery, record_sent
from services.notifications.models import Delivery, Notification, Recipient
from services.notifications.queries import NotificationNotFound
from services.notifications.rendering import LOCALES, render_title
from shared.ids import new_id


async def replace_recipient(
    session: AsyncSession, *, user_id: UUID, email: str, name: str, locale: str, time_zone: str
) -> None:
    """Replace or insert a recipient, and queue the mails that were deferred until it is known. Repeatable."""
    # Waits for transactions that are deferring a mail to this user, which are invisible here: see `_locale_of`.
    await session.execute(sa.select(sa.func.pg_advisory_xact_lock(_lock_id(user_id))))
    values = {"email": email, "name": name, "locale": locale, "time_zone": time_zone, "updated_at": sa.func.now()}
    await session.execute(
        insert(Recipient)
        .values(user_id=user_id, **values)
        .on_conflict_do_update(index_elements=[Recipient.user_id], set_=values)
    )
    await _queue_deferred(session, user_id=user_id, locale=locale)


async def notify(
    session: AsyncSession,
    *,
    user_id: UUID,
    event_id: UUID,
    event_type: str,
    category: str,
    data: Mapping[str, JsonValue],
) -> None:
    """Notify a user in the app and by mail, once per event. The mail is deferred until the recipient is known."""
    locale = await _locale_of(session, user_id=user_id)
    is_known = locale is not None
    notification = await session.scalar(
        insert(Notification)
        .values(
            id=new_id(),
            user_id=user_id,
            event_id=event_id,
            event_type=event_type,
            category=category,
            title=render_title(event_type, locale=locale or LOCALES[0], data=data),
            data=data,
        )
        .on_conflict_do_nothing(index_elements=[Notification.user_id, Notification.event_id])
        .returning(Notification)
    )
    if notification is None:
        return
    mail_id = new_id()
    session.add_all(
        [
            Delivery(notification_id=notification.id, channel="in_app", status="sent", sent_at=sa.func.now()),
            Delivery(
                id=mail_id,
                notification_id=notification.id,
                channel="email",
                status="queued" if is_known else "deferred",
                next_attempt_at=sa.func.now() if is_known else None,
            ),
        ]
    )
    record_sent(session, notification, channel="in_app")
    if is_known:
        await enqueue_delivery(session, mail_id, channel="email")


async def mark_read(session: AsyncSession, *, notification_id: UUID, user_id: UUID) -> Notification:
    """Mark a user's notification as read. Repeatable: the first time is kept. Raises: NotificationNotFound."""
    notification: Notification | None = await session.scalar(
        sa.update(Notification)
        .where(Notification.id == notification_id, Notification.user_id == user_id)
        .values(read_at=sa.func.coalesce(Notification.read_at, sa.func.now()))
        .returning(Notification)
    )
    if notification is None:
        raise NotificationNotFound
    return notification


async def _queue_deferred(session: AsyncSession, *, user_id: UUID, locale: str) -> None:
    deferred = await session.execute(
        sa.select(Delivery, Notification)
        .join(Notification, Notification.id == Delivery.notification_id)
        .where(Notification.user_id == user_id, Delivery.status == "deferred")
        .order_by(Delivery.id)
        .with_for_update(of=Delivery)
    )
    for delivery, notification in deferred.all():
        # The title was rendered while the locale was unknown.
        notification.title = render_title(notification.event_type, locale=locale, data=notification.data)
        delivery.status = "queued"
        delivery.next_attempt_at = sa.func.now()
        await enqueue_delivery(session, delivery.id, channel=delivery.channel)


async def _locale_of(session: AsyncSession, *, user_id: UUID) -> str | None:
    """Return the recipient's locale; None if it is unknown and stays so until this transaction ends."""
    query = sa.select(Recipient.locale).where(Recipient.user_id == user_id)
    locale = await session.scalar(query)
    if locale is None:
        # Another transaction may be inserting the recipient, and would not see the mail that this one defers.
        await session.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(_lock_id(user_id))))
        locale = await session.scalar(query)
    return locale


def _lock_id(user_id: UUID) -> int:
    return int.from_bytes(user_id.bytes[8:], signed=True)
