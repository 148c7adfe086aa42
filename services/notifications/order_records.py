"""The entries of an order's journey that this service knows: notifications, their deliveries, each attempt, mails."""

from collections.abc import Sequence
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications.models import Delivery, DeliveryAction, DeliveryAttempt, Notification
from shared.operations.actions import ActionSource
from shared.operations.journey_entries import (
    ActionDetails,
    ActionEntry,
    AnyEntry,
    AttemptDetails,
    AttemptEntry,
    DeliveryDetails,
    DeliveryEntry,
    MailDetails,
    MailEntry,
    NotificationDetails,
    NotificationEntry,
)
from shared.operations.journeys import MAX_ENTRIES, OwnRecords, Subject
from shared.telemetry import trace_id_of

SERVICE = "notifications"
CHANNELS = {"email": "by mail", "in_app": "in the app"}

DELIVERY_ACTIONS = ActionSource(
    "delivery",
    sa.type_coerce(DeliveryAction.acted_at, sa.DateTime(timezone=True)),
    sa.type_coerce(DeliveryAction.id, sa.BigInteger),
    (
        sa.cast(DeliveryAction.delivery_id, sa.Text),
        DeliveryAction.action.expression,
        DeliveryAction.actor.expression,
        sa.null(),
        DeliveryAction.note.expression,
    ),
)
"""The record of resends."""
ACTION_SOURCES = (DELIVERY_ACTIONS,)


async def records_of_order(session: AsyncSession, subject: Subject) -> OwnRecords:
    """Return the notifications about an order with their deliveries, attempts and mails, and what operators did."""
    rows = (
        await session.execute(
            sa.select(Notification, Delivery)
            .join(Delivery, Delivery.notification_id == Notification.id)
            .where(Notification.data["order_id"].astext == str(subject.order_id))
            .order_by(Notification.id, Delivery.channel)
            .limit(MAX_ENTRIES)
        )
    ).all()
    ids = [delivery.id for _, delivery in rows]
    attempts = await _attempts_of(session, ids)
    latest = {attempt.delivery_id: attempt for attempt in attempts}
    trace_ids = {delivery.notification_id: trace_id_of(delivery.traceparent) for _, delivery in rows}
    trace_ids |= {each.notification_id: trace_id_of(each.traceparent) for _, each in rows if each.traceparent}
    notifications = {notification.id: notification for notification, _ in rows}
    by_delivery = {delivery.id: notification for notification, delivery in rows}
    entries: list[AnyEntry] = [_notification_entry(each, trace_ids[each.id]) for each in notifications.values()]
    for notification, delivery in rows:
        trace_id = trace_ids[notification.id]
        entries.append(_delivery_entry(notification, delivery, latest.get(delivery.id), trace_id))
        if delivery.channel == "email" and delivery.sent_at is not None:
            entries.append(_mail_entry(notification, delivery, trace_id))
    entries += [_attempt_entry(each, by_delivery[each.delivery_id], trace_ids) for each in attempts]
    entries += await _actions_on(session, ids)
    return OwnRecords(entries, [("notifications", str(notification_id)) for notification_id in notifications])


async def _attempts_of(session: AsyncSession, delivery_ids: Sequence[UUID]) -> Sequence[DeliveryAttempt]:
    if not delivery_ids:
        return []
    query = (
        sa.select(DeliveryAttempt)
        .where(DeliveryAttempt.delivery_id.in_(delivery_ids))
        .order_by(DeliveryAttempt.delivery_id, DeliveryAttempt.number)
        .limit(MAX_ENTRIES)
    )
    return (await session.scalars(query)).all()


async def _actions_on(session: AsyncSession, delivery_ids: Sequence[UUID]) -> list[AnyEntry]:
    if not delivery_ids:
        return []
    actions = await session.scalars(
        sa.select(DeliveryAction)
        .where(DeliveryAction.delivery_id.in_(delivery_ids))
        .order_by(DeliveryAction.delivery_id, DeliveryAction.id)
        .limit(MAX_ENTRIES)
    )
    return [
        ActionEntry(
            kind="action",
            time=action.acted_at,
            service=SERVICE,
            title=f"{action.actor} had the mail sent again, which was {action.status_before}",
            trace_id=None,
            event_id=None,
            details=ActionDetails(
                subject="delivery",
                subject_id=str(action.delivery_id),
                action=action.action,
                actor=action.actor,
                outcome=None,
                note=action.note,
            ),
        )
        for action in actions
    ]


def _notification_entry(notification: Notification, trace_id: str | None) -> NotificationEntry:
    return NotificationEntry(
        kind="notification",
        time=notification.created_at,
        service=SERVICE,
        title=f"The customer is notified of {notification.event_type}",
        trace_id=trace_id,
        event_id=notification.event_id,
        details=NotificationDetails(
            notification_id=notification.id,
            type=notification.event_type,
            subject=notification.title,
            read_at=notification.read_at,
        ),
    )


def _delivery_entry(
    notification: Notification, delivery: Delivery, latest: DeliveryAttempt | None, trace_id: str | None
) -> DeliveryEntry:
    tries = f" after {delivery.attempts} attempts" if delivery.attempts > 1 else ""
    error = f": {delivery.last_error}" if delivery.last_error else ""
    return DeliveryEntry(
        kind="delivery",
        time=notification.created_at,
        service=SERVICE,
        title=f"The delivery {CHANNELS[delivery.channel]} is {delivery.status}{tries}{error}",
        trace_id=trace_id,
        event_id=notification.event_id,
        details=DeliveryDetails(
            delivery_id=delivery.id,
            notification_id=notification.id,
            channel=delivery.channel,
            status=delivery.status,
            attempts=delivery.attempts,
            last_error=delivery.last_error,
            reply_code=latest.reply_code if latest and latest.number == delivery.attempts else None,
            first_due_at=delivery.first_due_at,
            next_attempt_at=delivery.next_attempt_at,
            sent_at=delivery.sent_at,
        ),
    )


def _mail_entry(notification: Notification, delivery: Delivery, trace_id: str | None) -> MailEntry:
    return MailEntry(
        kind="mail",
        time=delivery.sent_at or notification.created_at,
        service=SERVICE,
        title=f"The mail server accepted the mail: {notification.title}",
        trace_id=trace_id,
        event_id=notification.event_id,
        details=MailDetails(
            delivery_id=delivery.id,
            subject=notification.title,
            message_id=delivery.provider_message_id,
            attempts=delivery.attempts,
        ),
    )


def _attempt_entry(
    attempt: DeliveryAttempt, notification: Notification, trace_ids: dict[UUID, str | None]
) -> AttemptEntry:
    reply = f"; the mail server answered {attempt.reply_code}" if attempt.reply_code else ""
    return AttemptEntry(
        kind="attempt",
        time=attempt.ended_at,
        service=SERVICE,
        title=f"Attempt {attempt.number} to send the mail failed: {attempt.error}{reply}",
        trace_id=trace_ids[notification.id],
        event_id=notification.event_id,
        details=AttemptDetails(
            delivery_id=attempt.delivery_id,
            number=attempt.number,
            error=attempt.error,
            reply_code=attempt.reply_code,
        ),
    )
