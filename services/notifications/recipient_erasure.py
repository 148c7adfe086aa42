"""Erasing a recipient: once the last mails are sent, or a time is over, everything about the user is deleted."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications import statements
from services.notifications.commands import Notice, notify_all
from services.notifications.models import OPEN_STATUSES, Delivery, Notification, Recipient
from services.notifications.recipients import locks_of
from shared.database import Sessions
from shared.erased_users import Erasure, begin_erasure, end_erasure, erase_copies, lock_erasure
from shared.events.notifications import NotificationFailed, RecipientErased
from shared.jobs import Jobs, enqueue
from shared.messaging.envelope import EventContext
from shared.messaging.outbox.outbox import record
from shared.personal_keys import PersonalKeys
from shared.sealed_contacts import delete_contacts
from shared.statements import count_deleted

logger = structlog.get_logger(__name__)

ERASE_JOB = "erase_recipient"
SETTLING_TIME = timedelta(seconds=5)
"""Time from the request to the first try: the mails about orders that the erasure has cancelled are sent, too."""
MAX_RETRY_DELAY = timedelta(minutes=1)
"""Upper bound of the delay between two tries while mails wait to be sent."""
LATE_ROWS = timedelta(days=1)
"""Age of the erasures whose users' notifications are looked for again, each hour."""
REASON = "recipient_erased"
"""The reason of `notification.failed` for mails that the erasure has dropped."""

Outcome = Literal["erased", "waits", "not_requested"]

_DELETE_LATE = sa.text("""
    WITH late AS (
        SELECT n.id FROM erased_user e JOIN notification n ON n.user_id = e.user_id
        WHERE e.erased_at > now() - CAST(:since AS interval)
    )
    DELETE FROM notification WHERE id IN (SELECT id FROM late) RETURNING id
""")


async def request_erasure(session: AsyncSession, *, user_id: UUID, request_id: UUID, cause: EventContext) -> None:
    """Notify a user that the erasure has begun, and enqueue it. A repeated request only enqueues it again."""
    is_new = await begin_erasure(session, user_id=user_id, request_id=request_id)
    if is_new:
        await notify_all(session, [Notice(user_id, "account", {"request_id": str(request_id)}, cause)])
    await enqueue(session, ERASE_JOB, str(user_id).encode(), delay=SETTLING_TIME if is_new else timedelta(0))


def add_erasure_jobs(jobs: Jobs, *, keys: PersonalKeys, max_wait: timedelta) -> Jobs:
    """Add the job that erases a recipient, and a sweep of what a concurrent event may have stored."""

    @jobs.task(ERASE_JOB)
    async def erase(sessions: Sessions, payload: bytes) -> None:
        user_id = UUID(payload.decode())
        async with sessions.begin() as session:
            outcome = await erase_recipient(session, user_id, max_wait=max_wait)
        if outcome == "erased":
            keys.invalidate(user_id)
            logger.info("recipient_erased", user_id=str(user_id))

    @jobs.every("11 * * * *")
    async def delete_notifications_of_erased_users(sessions: Sessions) -> None:
        async with sessions.begin() as session:
            deleted = len((await session.scalars(_DELETE_LATE, {"since": LATE_ROWS})).all())
        if deleted:
            logger.info("late_notifications_deleted", notifications=deleted)

    return jobs


async def erase_recipient(session: AsyncSession, user_id: UUID, *, max_wait: timedelta) -> Outcome:
    """Erase everything about a user and answer the request, or try again later while mails wait to be sent.

    Mails that still wait after `max_wait` are dropped. Repeatable.
    """
    erasure = await lock_erasure(session, user_id)
    if erasure is None:
        return "not_requested"
    # Waits for transactions that are notifying the user, and lets later ones see that the user was erased.
    await session.execute(statements.LOCK, {"locks": locks_of([user_id])})
    waiting = [row for row in await _lock_deliveries(session, user_id) if row.status in OPEN_STATUSES]
    age = datetime.now(UTC) - erasure.requested_at
    if waiting and age < max_wait and erasure.erased_at is None:
        await enqueue(session, ERASE_JOB, str(user_id).encode(), delay=_retry_delay(age, max_wait=max_wait))
        return "waits"
    for row in waiting:
        _record_dropped(session, row, user_id=user_id)
    await _erase(session, erasure)
    return "erased"


def _retry_delay(age: timedelta, *, max_wait: timedelta) -> timedelta:
    """Return the delay of the next try: a quarter of the age, at least a second, and not beyond the end."""
    return max(timedelta(seconds=1), min(age / 4, MAX_RETRY_DELAY, max_wait - age))


async def _lock_deliveries(session: AsyncSession, user_id: UUID) -> Sequence[Any]:
    """Lock the deliveries of a user, before their notifications, as the worker does."""
    rows = await session.execute(
        sa.select(
            Delivery.status, Delivery.channel, Delivery.notification_id, Notification.category, Notification.event_id
        )
        .join(Notification, Notification.id == Delivery.notification_id)
        .where(Notification.user_id == user_id)
        .order_by(Delivery.id)
        .with_for_update(of=Delivery)
    )
    return rows.all()


async def _erase(session: AsyncSession, erasure: Erasure) -> None:
    user_id = erasure.user_id
    await delete_contacts(session, [user_id])
    await count_deleted(session, sa.delete(Recipient).where(Recipient.user_id == user_id))
    # Their deliveries, and the operators' actions on these, go with them.
    await count_deleted(session, sa.delete(Notification).where(Notification.user_id == user_id))
    await erase_copies(session, user_id)
    await end_erasure(session, user_id)
    record(session, RecipientErased(user_id=user_id, request_id=erasure.request_id))


def _record_dropped(session: AsyncSession, delivery: sa.Row[Any], *, user_id: UUID) -> None:
    event = NotificationFailed(
        notification_id=delivery.notification_id,
        user_id=user_id,
        category=delivery.category,
        channel=delivery.channel,
        source_event_id=delivery.event_id,
        reason=REASON,
    )
    record(session, event)
