"""Commands: replace recipients, notify users, mark a notification as read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal, NamedTuple
from uuid import UUID

import orjson
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications import statements
from services.notifications.channels import Attempt
from services.notifications.deliveries import LEASE, WORKER, attempt_deadline, local_worker
from services.notifications.models import Notification
from services.notifications.queries import NotificationNotFound
from services.notifications.rendering import LOCALES, render_title
from shared.driver_statements import fetch
from shared.events.notifications import NotificationSent
from shared.http.auth import Permit
from shared.ids import new_id
from shared.loops import call_after_commit, wake_after_commit
from shared.messaging.envelope import EventContext
from shared.messaging.outbox.outbox import record
from shared.telemetry import continued_trace, parse_traceparent

LOCKS = 1_024
"""Number of advisory locks; a user takes the one with the number `id % LOCKS`. Also the most that one transaction can
take: PostgreSQL's table of locks holds some thousands. With fewer, more transactions wait for each other."""


@dataclass(frozen=True)
class RecipientData:
    """Address data of a user, and the sequence of the event that has them."""

    email: str
    name: str
    locale: str
    time_zone: str
    sequence: int


@dataclass(frozen=True)
class Notice:
    """A notification to make: the user, the data of the event that the user is told about, and its context."""

    user_id: UUID
    category: str
    data: Mapping[str, JsonValue]
    cause: EventContext


class _Recipient(NamedTuple):
    """A known recipient, as a mail needs it."""

    email: str
    name: str
    locale: str


class _NewMail(NamedTuple):
    """The mail of a new notification, with its first attempt if that begins as the transaction commits."""

    id: UUID
    status: Literal["queued", "deferred", "sending"]
    traceparent: str | None
    attempt: Attempt | None = None


async def replace_recipients(session: AsyncSession, recipients: Mapping[UUID, RecipientData]) -> None:
    """Replace or insert recipients, and queue the mails that were deferred until they are known. Repeatable.

    A recipient that a later event has written stays as it is.
    """
    user_ids = sorted(recipients)
    known = await _recipients_of(session, user_ids)
    new = [user_id for user_id in user_ids if user_id not in known]
    if new:
        # Waits for transactions that are deferring a mail to these users, which are invisible here: see `notify_all`.
        # A known recipient needs no lock: nothing was deferred since it was inserted.
        await session.execute(statements.LOCK, {"locks": _locks_of(new)})
    await session.execute(
        statements.REPLACE_RECIPIENTS,
        {
            "user_ids": user_ids,
            "emails": [recipients[user_id].email for user_id in user_ids],
            "names": [recipients[user_id].name for user_id in user_ids],
            "locales": [recipients[user_id].locale for user_id in user_ids],
            "time_zones": [recipients[user_id].time_zone for user_id in user_ids],
            "sequences": [recipients[user_id].sequence for user_id in user_ids],
        },
    )
    if new:
        await _queue_deferred(session, {user_id: recipients[user_id].locale for user_id in new})


async def notify_all(session: AsyncSession, notices: Sequence[Notice]) -> None:
    """Notify users in the app and by mail, once per user and event, and once per change of an order.

    Mails are deferred until the recipient is known. Each event is recorded in the trace of the notice's cause.
    """
    user_ids = {notice.user_id for notice in notices}
    recipients = await _recipients_of(session, user_ids)
    if unknown := user_ids - recipients.keys():
        # Another transaction may be inserting these recipients, and would not see the mails that this one defers.
        # Whoever is still unknown in the statement after the lock stays so until this transaction ends.
        await session.execute(statements.LOCK_SHARED, {"locks": _locks_of(unknown)})
        recipients |= await _recipients_of(session, unknown)
    given = {new_id(): notice for notice in notices}
    slots, begun = _reserve_slots(session, sum(notice.user_id in recipients for notice in notices))
    mails = _new_mails(given, recipients, slots=slots)
    stored = await _insert_notifications(session, given, mails, recipients)
    for notification_id, notice in given.items():
        if notification_id in stored:
            _record_in_app(session, notification_id, notice)
    begun += [mail.attempt for id_, mail in mails.items() if mail.attempt is not None and id_ in stored]
    if any(mail.status == "queued" for mail in mails.values()):
        wake_after_commit(session, WORKER)


async def mark_read(session: AsyncSession, *, notification_id: UUID, permit: Permit) -> Notification:
    """Mark a notification as read. Repeatable: the first time is kept.

    Raises: NotificationNotFound, or the denial of the permit.
    """
    notification = await session.get(Notification, notification_id, with_for_update=True)
    if notification is None:
        raise NotificationNotFound
    permit.check_owner(notification.user_id)
    if notification.read_at is None:
        notification.read_at = datetime.now(UTC)
    return notification


async def _queue_deferred(session: AsyncSession, locales: Mapping[UUID, str]) -> None:
    """Make the deferred mails of recipients due. The recipients are given as locale by user id."""
    deferred = await session.execute(statements.LOCK_DEFERRED, {"user_ids": list(locales)})
    # The titles were rendered while the locales were unknown.
    titles = {
        row.notification_id: render_title(row.event_type, locale=locales[row.user_id], data=row.data)
        for row in deferred
    }
    if titles:
        parameters = {"notification_ids": list(titles), "titles": list(titles.values())}
        await session.execute(statements.QUEUE_DEFERRED, parameters)
        wake_after_commit(session, WORKER)


async def _recipients_of(session: AsyncSession, user_ids: Collection[UUID]) -> dict[UUID, _Recipient]:
    """Return those recipients that are known."""
    rows = await fetch(session, statements.RECIPIENTS_OF, {"user_ids": list(user_ids)})
    return {row["user_id"]: _Recipient(row["email"], row["name"], row["locale"]) for row in rows}


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
    given: Mapping[UUID, Notice], recipients: Mapping[UUID, _Recipient], *, slots: int
) -> dict[UUID, _NewMail]:
    """Return the mail of each notification: the worker of this process begins with as many as it has slots for."""
    mails: dict[UUID, _NewMail] = {}
    # Taken before the statement that stores the attempts: their leases begin there, however long the commit takes.
    deadline = attempt_deadline()
    for notification_id, notice in given.items():
        mail_id, recipient, traceparent = new_id(), recipients.get(notice.user_id), _traceparent_of(notice.cause)
        if recipient is None or not slots:
            mails[notification_id] = _NewMail(mail_id, "queued" if recipient else "deferred", traceparent)
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
            **recipient._asdict(),
        )
        mails[notification_id] = _NewMail(mail_id, "sending", traceparent, attempt)
    return mails


async def _insert_notifications(
    session: AsyncSession,
    given: Mapping[UUID, Notice],
    mails: Mapping[UUID, _NewMail],
    recipients: Mapping[UUID, _Recipient],
) -> set[UUID]:
    """Insert notifications with their deliveries; return the ids of those that were not stored before."""
    unknown = _Recipient("", "", LOCALES[0])
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
            "titles": [
                render_title(notice.cause.type, locale=recipients.get(notice.user_id, unknown).locale, data=notice.data)
                for notice in notices
            ],
            "data": [orjson.dumps(notice.data).decode() for notice in notices],
            "in_app_ids": [new_id() for _ in notices],
            "email_ids": [mails[id_].id for id_ in given],
            "email_statuses": [mails[id_].status for id_ in given],
            "traceparents": [mails[id_].traceparent for id_ in given],
            "lease": LEASE,
        },
    )
    return {row["id"] for row in stored}


def _traceparent_of(cause: EventContext) -> str | None:
    """Return the trace of an event for its mail; None if it is malformed, since a header may hold anything."""
    trace = parse_traceparent(cause.traceparent) if cause.traceparent else None
    return trace.traceparent if trace else None


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


def _locks_of(user_ids: Collection[UUID]) -> list[int]:
    """Return the locks of users, in the order in which every transaction takes them: else two could deadlock."""
    return sorted({user_id.int % LOCKS for user_id in user_ids})
