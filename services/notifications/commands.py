"""Commands: notify users, mark a notification as read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal, NamedTuple
from uuid import UUID

import orjson
import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications import statements
from services.notifications.channels import Attempt
from services.notifications.deliveries import LEASE, WORKER, attempt_deadline, local_worker
from services.notifications.models import Notification, Recipient
from services.notifications.queries import NotificationNotFound
from services.notifications.recipients import KnownRecipient, locks_of, recipients_of
from services.notifications.rendering import LOCALES, render_title
from services.notifications.statuses import ADDRESS_UNVERIFIED, Channel
from shared.driver_statements import fetch
from shared.erased_users import erased_among
from shared.events.notifications import NotificationSent
from shared.http.auth import Permit
from shared.ids import new_id
from shared.loops import call_after_commit, wake_after_commit
from shared.messaging.envelope import EventContext
from shared.messaging.outbox.outbox import record
from shared.telemetry import continued_trace, parse_traceparent, traceparent_of


@dataclass(frozen=True)
class Notice:
    """A notification to make: the user, the data of the event that the user is told about, and its context."""

    user_id: UUID
    category: str
    data: Mapping[str, JsonValue]
    cause: EventContext
    locale: str | None = None
    """The language of the title, and of a sealed mail. Default: the recipient's."""
    sealed: str | None = None
    """A sealed `AccountMail`. Such a notice is only mailed, to the address in it, also to an unknown recipient."""
    expires_at: datetime | None = None
    """The time from which on a sealed mail is not sent any more."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels on which the user is told."""
        return ("email", "in_app") if self.sealed is None else ("email",)

    def is_mailable(self, recipients: Mapping[UUID, KnownRecipient]) -> bool:
        """Return whether its mail can be sent now: it is sealed, or the recipient's address is verified."""
        recipient = recipients.get(self.user_id)
        return self.sealed is not None or (recipient is not None and recipient.email_verified)


class _NewMail(NamedTuple):
    """The mail of a new notification, with its first attempt if that begins as the transaction commits."""

    id: UUID
    status: Literal["queued", "deferred", "sending"]
    traceparent: str | None
    attempt: Attempt | None = None


async def delete_recipients(session: AsyncSession, user_ids: Sequence[UUID]) -> None:
    """Delete recipients with the notifications about their accounts. Repeatable.

    Those about orders stay until their retention ends: the orders still exist.
    """
    await session.execute(
        sa.delete(Notification).where(Notification.user_id.in_(user_ids), Notification.category != "orders")
    )
    await session.execute(sa.delete(Recipient).where(Recipient.user_id.in_(user_ids)))


async def notify_all(session: AsyncSession, notices: Sequence[Notice]) -> None:
    """Notify users in the app and by mail, once per user and event, and once per change of an order.

    Mails are deferred until the recipient is known and the address verified, except sealed ones. Users who were erased
    are not notified. Each event is recorded in the trace of the notice's cause.
    """
    recipients = await recipients_of(session, {notice.user_id for notice in notices})
    if unreached := {
        notice.user_id for notice in notices if notice.user_id not in recipients or not notice.is_mailable(recipients)
    }:
        # Another transaction may be replacing these recipients, and would not see the mails that this one defers.
        # Whoever cannot be reached in the statement after the lock stays so until this transaction ends.
        await session.execute(statements.LOCK_SHARED, {"locks": locks_of(unreached)})
        recipients |= await recipients_of(session, unreached)
        erased = await erased_among(session, unreached)
        notices = [notice for notice in notices if notice.user_id not in erased]
    given = {new_id(): notice for notice in notices}
    wanted = sum(notice.sealed is None and notice.is_mailable(recipients) for notice in notices)
    slots, begun = _reserve_slots(session, wanted)
    mails = _new_mails(given, recipients, slots=slots)
    stored = await _insert_notifications(session, given, mails, recipients)
    for notification_id, notice in given.items():
        if notification_id in stored and "in_app" in notice.channels:
            _record_in_app(session, notification_id, notice)
    begun += [mail.attempt for id_, mail in mails.items() if mail.attempt is not None and id_ in stored]
    if any(mail.status == "queued" for mail in mails.values()):
        wake_after_commit(session, WORKER)


async def mark_read(session: AsyncSession, *, notification_id: UUID, permit: Permit) -> Notification:
    """Mark a notification as read. Repeatable: the first time is kept.

    Raises: NotificationNotFound, also for one that is only mailed; or the denial of the permit.
    """
    notification = await session.get(Notification, notification_id, with_for_update=True)
    if notification is None or not notification.in_app:
        raise NotificationNotFound
    permit.check_owner(notification.user_id)
    if notification.read_at is None:
        notification.read_at = datetime.now(UTC)
    return notification


def _reserve_slots(session: AsyncSession, wanted: int) -> tuple[int, list[Attempt]]:
    """Reserve slots of this process's worker; return how many, and the list for the attempts that begin in them.

    They begin once the transaction has committed.
    """
    begun: list[Attempt] = []
    worker = local_worker(session)
    slots = worker.reserve_slots(wanted) if worker else 0
    if worker and slots:
        call_after_commit(
            session,
            partial(worker.begin, begun, reserved_slots=slots),
            on_rollback=partial(worker.release_slots, slots),
        )
    return slots, begun


def _new_mails(
    given: Mapping[UUID, Notice], recipients: Mapping[UUID, KnownRecipient], *, slots: int
) -> dict[UUID, _NewMail]:
    """Return the mail of each notification: the worker of this process begins with as many as it has slots for.

    Sealed mails are rare, and queued.
    """
    mails: dict[UUID, _NewMail] = {}
    # Taken before the statement that stores the attempts: their leases begin there, however long the commit takes.
    deadline = attempt_deadline()
    for notification_id, notice in given.items():
        mail_id, recipient, traceparent = new_id(), recipients.get(notice.user_id), _traceparent_of(notice.cause)
        is_mailable = notice.is_mailable(recipients)
        if recipient is None or notice.sealed is not None or not (is_mailable and slots):
            mails[notification_id] = _NewMail(mail_id, "queued" if is_mailable else "deferred", traceparent)
            continue
        slots -= 1
        attempt = Attempt(
            delivery_id=mail_id,
            channel="email",
            number=1,
            tries=1,
            deadline=deadline,
            traceparent=traceparent,
            notification_id=notification_id,
            user_id=notice.user_id,
            event_id=notice.cause.event_id,
            event_type=notice.cause.type,
            category=notice.category,
            data=notice.data,
            email=recipient.email,
            name=recipient.name,
            locale=recipient.locale,
        )
        mails[notification_id] = _NewMail(mail_id, "sending", traceparent, attempt)
    return mails


async def _insert_notifications(
    session: AsyncSession,
    given: Mapping[UUID, Notice],
    mails: Mapping[UUID, _NewMail],
    recipients: Mapping[UUID, KnownRecipient],
) -> set[UUID]:
    """Insert notifications with their deliveries; return the ids of those that were not stored before."""
    notices = list(given.values())
    stored = await fetch(
        session,
        statements.INSERT_NOTIFICATIONS,
        {
            "ids": list(given),
            "user_ids": [notice.user_id for notice in notices],
            "event_ids": [notice.cause.event_id for notice in notices],
            "event_types": [notice.cause.type for notice in notices],
            "categories": [notice.category for notice in notices],
            "titles": [_title_of(notice, recipients.get(notice.user_id)) for notice in notices],
            "data": [orjson.dumps(notice.data).decode() for notice in notices],
            "in_app_ids": [new_id() for _ in notices],
            "email_ids": [mails[id_].id for id_ in given],
            "email_statuses": [mails[id_].status for id_ in given],
            "email_errors": [
                ADDRESS_UNVERIFIED if mails[id_].status == "deferred" and notice.user_id in recipients else None
                for id_, notice in given.items()
            ],
            "traceparents": [mails[id_].traceparent for id_ in given],
            "sealed": [notice.sealed for notice in notices],
            "locales": [notice.locale if notice.sealed is not None else None for notice in notices],
            "expires_at": [notice.expires_at for notice in notices],
            "lease": LEASE,
        },
    )
    return {row["id"] for row in stored}


def _title_of(notice: Notice, recipient: KnownRecipient | None) -> str:
    locale = notice.locale or (recipient.locale if recipient else LOCALES[0])
    return render_title(notice.cause.type, locale=locale, data=notice.data)


def _traceparent_of(cause: EventContext) -> str | None:
    """Return the trace of an event for its mail; None if it is malformed, since a header may hold anything."""
    trace = parse_traceparent(cause.traceparent)
    return traceparent_of(trace) if trace else None


def _record_in_app(session: AsyncSession, notification_id: UUID, notice: Notice) -> None:
    """Record that a notification was sent in the app, where it counts as sent once it is stored."""
    with continued_trace(notice.cause.traceparent, tracestate=notice.cause.tracestate):
        event = NotificationSent(
            notification_id=notification_id,
            user_id=notice.user_id,
            category=notice.category,
            channel="in_app",
            source_event_id=notice.cause.event_id,
        )
        record(session, event)
