"""The life of one delivery: a try begins in one short transaction and ends in another, the sending lies between."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications.channels import Outgoing, Receipt, Undelivered
from services.notifications.models import OPEN_STATUSES, Channel, Delivery, Notification, Recipient
from shared.events.notifications import NotificationFailed, NotificationSent
from shared.jobs import enqueue
from shared.messaging.outbox.outbox import record

LEASE = timedelta(seconds=30)
"""A try that has not ended by then was interrupted: longer than a channel may take, so nobody is still at it."""
INITIAL_RETRY_DELAY = timedelta(seconds=1)
MAX_RETRY_DELAY = timedelta(minutes=5)
OVERDUE_AFTER = timedelta(minutes=1)
"""So long after its next attempt was due, a delivery is worth a look whether it still has a job."""

# PgQueuer's own table; what is held there as failed will not run again.
_JOB = sa.table("pgqueuer", sa.column("entrypoint"), sa.column("payload"), sa.column("status"))


@dataclass(frozen=True)
class NotYet:
    """Another try is running, or the next one is not due; `code`: why the last one failed, if this one was it."""

    delay: timedelta
    code: str | None = None


@dataclass(frozen=True)
class GivenUp:
    """There will be no other try."""

    code: str


async def enqueue_delivery(session: AsyncSession, delivery_id: UUID, *, channel: Channel) -> None:
    """Have the delivery tried once this transaction has committed. A job too many does no harm."""
    await enqueue(session, job_name(channel), delivery_id.bytes)


def job_name(channel: Channel) -> str:
    """The job that tries the deliveries of a channel."""
    return f"deliver_{channel}"


async def begin_attempt(
    session: AsyncSession, *, delivery_id: UUID, max_attempts: int
) -> Outgoing | NotYet | GivenUp | None:
    """Take the delivery for one try; None when nothing is left to do. Of many at once, one gets it."""
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
        return NotYet(due_in)
    if delivery.attempts >= max_attempts:
        # Only a crash during the last try leads here: whether that one was sent, nobody knows.
        return _give_up(session, delivery, notification, code="interrupted")
    delivery.attempts += 1
    delivery.status = "sending"
    delivery.next_attempt_at = sa.func.now() + LEASE
    return _outgoing(delivery, notification, recipient)


async def complete_attempt(session: AsyncSession, outgoing: Outgoing, *, receipt: Receipt) -> bool:
    """Write down that the message was taken; False when that is known already."""
    delivery, notification = await _locked(session, outgoing)
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
    session: AsyncSession, outgoing: Outgoing, *, error: Undelivered, max_attempts: int
) -> NotYet | GivenUp | None:
    """Write down that the message was not taken; None when another try has begun or ended since."""
    delivery, notification = await _locked(session, outgoing)
    if delivery.status != "sending" or delivery.attempts != outgoing.attempt:
        return None
    if error.is_final or delivery.attempts >= max_attempts:
        return _give_up(session, delivery, notification, code=error.code)
    delay = min(INITIAL_RETRY_DELAY * 2 ** (delivery.attempts - 1), MAX_RETRY_DELAY)
    delivery.status = "retrying"
    delivery.last_error = error.code
    delivery.next_attempt_at = sa.func.now() + delay
    return NotYet(delay, code=error.code)


async def requeue_lost(session: AsyncSession, *, limit: int = 100) -> list[UUID]:
    """Give a new job to overdue deliveries that have none, such as after a fault of the queue; returns them."""
    has_job = sa.exists().where(
        _JOB.c.entrypoint == "deliver_" + Delivery.channel,
        _JOB.c.payload == sa.func.uuid_send(Delivery.id),
        sa.cast(_JOB.c.status, sa.Text).in_(["queued", "picked"]),
    )
    lost = await session.execute(
        sa.select(Delivery.id, Delivery.channel)
        .where(Delivery.next_attempt_at < sa.func.now() - OVERDUE_AFTER, ~has_job)
        .order_by(Delivery.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True, of=Delivery)
    )
    found = lost.all()
    for delivery_id, channel in found:
        await enqueue_delivery(session, delivery_id, channel=channel)
    return [delivery_id for delivery_id, _ in found]


async def _locked(session: AsyncSession, outgoing: Outgoing) -> tuple[Delivery, Notification]:
    result = await session.execute(
        sa.select(Delivery, Notification)
        .join(Notification, Notification.id == Delivery.notification_id)
        .where(Delivery.id == outgoing.delivery_id)
        .with_for_update(of=Delivery)
    )
    delivery, notification = result.one()
    return delivery, notification


def record_sent(session: AsyncSession, notification: Notification, *, channel: Channel) -> None:
    """Tell the world that the notification is out on this channel."""
    event = NotificationSent(
        notification_id=notification.id,
        user_id=notification.user_id,
        category=notification.category,
        channel=channel,
        source_event_id=notification.event_id,
    )
    record(session, event)


def _give_up(session: AsyncSession, delivery: Delivery, notification: Notification, *, code: str) -> GivenUp:
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
    return GivenUp(code)


def _outgoing(delivery: Delivery, notification: Notification, recipient: Recipient) -> Outgoing:
    return Outgoing(
        delivery_id=delivery.id,
        attempt=delivery.attempts,
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
