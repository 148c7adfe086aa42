"""Commands: replace recipients, notify users, mark a notification as read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson
import sqlalchemy as sa
from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications import statements
from services.notifications.deliveries import WORKER
from services.notifications.models import Notification
from services.notifications.queries import NotificationNotFound
from services.notifications.rendering import LOCALES, render_title
from shared.events.notifications import NotificationSent
from shared.ids import new_id
from shared.loops import wake_after_commit
from shared.messaging.envelope import EventContext
from shared.messaging.outbox.outbox import record
from shared.telemetry import continued_trace, parse_traceparent

LOCKS = 1_024
"""Locks that users share, and so an upper bound of those that one transaction takes: PostgreSQL's table of locks holds
some thousands. A lower value makes more transactions wait for one another."""


@dataclass(frozen=True)
class RecipientData:
    """Address data of a user."""

    email: str
    name: str
    locale: str
    time_zone: str


@dataclass(frozen=True)
class Notice:
    """A notification to make: the user, the data of the event that the user is told about, and its context."""

    user_id: UUID
    category: str
    data: Mapping[str, JsonValue]
    cause: EventContext


async def replace_recipients(session: AsyncSession, recipients: Mapping[UUID, RecipientData]) -> None:
    """Replace or insert recipients, and queue the mails that were deferred until they are known. Repeatable."""
    user_ids = sorted(recipients)
    known = await _locales_of(session, user_ids)
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
        },
    )
    if new:
        await _queue_deferred(session, {user_id: recipients[user_id].locale for user_id in new})


async def notify_all(session: AsyncSession, notices: Sequence[Notice]) -> None:
    """Notify users in the app and by mail, once per user and event. Mails are deferred until the recipient is known.

    Each event is recorded in the trace of the notice's cause.
    """
    user_ids = {notice.user_id for notice in notices}
    locales = await _locales_of(session, user_ids)
    if unknown := user_ids - locales.keys():
        # Another transaction may be inserting these recipients, and would not see the mails that this one defers.
        # Whoever is still unknown in the statement after the lock stays so until this transaction ends.
        await session.execute(statements.LOCK_SHARED, {"locks": _locks_of(unknown)})
        locales |= await _locales_of(session, unknown)
    given = {new_id(): notice for notice in notices}
    titles = [
        render_title(notice.cause.type, locale=locales.get(notice.user_id, LOCALES[0]), data=notice.data)
        for notice in given.values()
    ]
    is_known = [notice.user_id in locales for notice in given.values()]
    stored = await session.scalars(
        statements.INSERT_NOTIFICATIONS,
        {
            "ids": list(given),
            "user_ids": [notice.user_id for notice in given.values()],
            "event_ids": [notice.cause.event_id for notice in given.values()],
            "event_types": [notice.cause.type for notice in given.values()],
            "categories": [notice.category for notice in given.values()],
            "titles": titles,
            "data": [orjson.dumps(notice.data).decode() for notice in given.values()],
            "in_app_ids": [new_id() for _ in given],
            "email_ids": [new_id() for _ in given],
            "email_statuses": ["queued" if known else "deferred" for known in is_known],
            "traceparents": [_traceparent_of(notice.cause) for notice in given.values()],
        },
    )
    for notification_id in stored:
        _record_in_app(session, notification_id, given[notification_id])
    if any(is_known):
        wake_after_commit(session, WORKER)


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


async def _locales_of(session: AsyncSession, user_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the locales of those recipients that are known."""
    rows = await session.execute(statements.LOCALES_OF, {"user_ids": list(user_ids)})
    return {user_id: locale for user_id, locale in rows}  # noqa: C416 - rows, not pairs


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
