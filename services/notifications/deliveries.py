"""Attempts of a delivery: each begins in one short transaction and ends in another, with the sending in between."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications.channels import Attempt, Receipt, SendFailed
from services.notifications.models import OPEN_STATUSES, Channel, Delivery, Notification, Recipient
from shared.events.notifications import NotificationFailed, NotificationSent
from shared.jobs import enqueue
from shared.messaging.outbox.outbox import record

ATTEMPT_TIMEOUT = timedelta(seconds=30)
"""Time after which an attempt without an outcome counts as interrupted. A send that takes longer may be repeated."""
INITIAL_RETRY_DELAY = timedelta(seconds=1)
"""Delay before the first retry; doubles each time."""
MAX_RETRY_DELAY = timedelta(minutes=5)
LOST_AFTER = timedelta(minutes=1)
"""Time after its next attempt was due when a delivery without a job gets a new one."""

# PgQueuer's table. A job that is held there as failed does not run again.
_JOB = sa.table("pgqueuer", sa.column("entrypoint"), sa.column("payload"), sa.column("status"))


@dataclass(frozen=True)
class RetryLater:
    """Another attempt is running or due later. `code` is the error if this attempt failed."""

    delay: timedelta
    code: str | None = None


@dataclass(frozen=True)
class DeliveryFailed:
    """The delivery has failed: there is no further attempt."""

    code: str


async def enqueue_delivery(session: AsyncSession, delivery_id: UUID, *, channel: Channel) -> None:
    """Enqueue a job for the delivery as this transaction commits. A second job does no harm."""
    await enqueue(session, job_name(channel), delivery_id.bytes)


def job_name(channel: Channel) -> str:
    """Return the name of the job that makes the deliveries of a channel."""
    return f"deliver_{channel}"


async def begin_attempt(
    session: AsyncSession, *, delivery_id: UUID, max_attempts: int
) -> Attempt | RetryLater | DeliveryFailed | None:
    """Begin an attempt, and return it; None if nothing is left to do. Only one attempt runs at a time."""
    until_due = sa.type_coerce(Delivery.next_attempt_at - sa.func.clock_timestamp(), sa.Interval)
    row = (
        await session.execute(
            sa.select(Delivery, Notification, Recipient, until_due)
            .join(Notification, Notification.id == Delivery.notification_id)
            .join(Recipient, Recipient.user_id == Notification.user_id)
            .where(Delivery.id == delivery_id, Delivery.status.in_(OPEN_STATUSES))
            .with_for_update(of=Delivery)
        )
    ).one_or_none()
    if row is None:
        return None
    delivery, notification, recipient, due_in = row
    if due_in > timedelta(0):
        return RetryLater(due_in)
    if delivery.attempts >= max_attempts:
        # A crash during the last attempt: whether it sent the message is unknown.
        return _fail(session, delivery, notification, code="interrupted")
    delivery.attempts += 1
    delivery.status = "sending"
    delivery.next_attempt_at = sa.func.now() + ATTEMPT_TIMEOUT
    return _attempt_of(delivery, notification, recipient)


async def complete_attempt(session: AsyncSession, attempt: Attempt, *, receipt: Receipt) -> bool:
    """Record that the message was sent. Return False if that was recorded before."""
    delivery, notification = await _lock(session, attempt)
    if delivery.status == "sent":
        return False
    delivery.status = "sent"
    delivery.sent_at = sa.func.now()
    delivery.next_attempt_at = None
    delivery.last_error = None
    delivery.provider = receipt.provider
    delivery.provider_message_id = receipt.provider_message_id
    record_sent(session, notification, channel=delivery.channel)
    return True


async def fail_attempt(
    session: AsyncSession, attempt: Attempt, *, error: SendFailed, max_attempts: int
) -> RetryLater | DeliveryFailed | None:
    """Record that the message was not sent, and return what follows.

    Return None and record nothing if another attempt has begun or ended meanwhile.
    """
    delivery, notification = await _lock(session, attempt)
    if delivery.status != "sending" or delivery.attempts != attempt.number:
        return None
    if error.is_final or delivery.attempts >= max_attempts:
        return _fail(session, delivery, notification, code=error.code)
    delay = min(INITIAL_RETRY_DELAY * 2 ** (delivery.attempts - 1), MAX_RETRY_DELAY)
    delivery.status = "retrying"
    delivery.last_error = error.code
    delivery.next_attempt_at = sa.func.now() + delay
    return RetryLater(delay, code=error.code)


async def requeue_lost(session: AsyncSession, *, limit: int = 100) -> list[UUID]:
    """Enqueue new jobs for overdue deliveries without one, such as after an error of the queue. Return their ids."""
    has_job = sa.exists().where(
        _JOB.c.entrypoint == "deliver_" + Delivery.channel,
        _JOB.c.payload == sa.func.uuid_send(Delivery.id),
        sa.cast(_JOB.c.status, sa.Text).in_(["queued", "picked"]),
    )
    lost = await session.execute(
        sa.select(Delivery.id, Delivery.channel)
        .where(Delivery.next_attempt_at < sa.func.now() - LOST_AFTER, ~has_job)
        .order_by(Delivery.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True, of=Delivery)
    )
    found = lost.all()
    for delivery_id, channel in found:
        await enqueue_delivery(session, delivery_id, channel=channel)
    return [delivery_id for delivery_id, _ in found]


async def _lock(session: AsyncSession, attempt: Attempt) -> tuple[Delivery, Notification]:
    result = await session.execute(
        sa.select(Delivery, Notification)
        .join(Notification, Notification.id == Delivery.notification_id)
        .where(Delivery.id == attempt.delivery_id)
        .with_for_update(of=Delivery)
    )
    delivery, notification = result.one()
    return delivery, notification


def record_sent(session: AsyncSession, notification: Notification, *, channel: Channel) -> None:
    """Record the event that a notification was sent on a channel."""
    event = NotificationSent(
        notification_id=notification.id,
        user_id=notification.user_id,
        category=notification.category,
        channel=channel,
        source_event_id=notification.event_id,
    )
    record(session, event)


def _fail(session: AsyncSession, delivery: Delivery, notification: Notification, *, code: str) -> DeliveryFailed:
    delivery.status = "failed"
    delivery.last_error = code
    delivery.next_attempt_at = None
    event = NotificationFailed(
        notification_id=notification.id,
        user_id=notification.user_id,
        category=notification.category,
        channel=delivery.channel,
        source_event_id=notification.event_id,
        reason=code,
    )
    record(session, event)
    return DeliveryFailed(code)


def _attempt_of(delivery: Delivery, notification: Notification, recipient: Recipient) -> Attempt:
    return Attempt(
        delivery_id=delivery.id,
        number=delivery.attempts,
        notification_id=notification.id,
        user_id=notification.user_id,
        event_id=notification.event_id,
        event_type=notification.event_type,
        category=notification.category,
        data=notification.data,
        email=recipient.email,
        name=recipient.name,
        locale=recipient.locale,
    )
