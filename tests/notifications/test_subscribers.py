"""Recipients, notifications and deliveries that events create."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from services.notifications.commands import notify_all
from services.notifications.deliveries import WORKER
from services.notifications.models import Delivery, Notification, Recipient
from services.notifications.recipients import LOCKS, replace_recipients
from services.notifications.statements import LOCK
from services.notifications.subscribers import notify_of_orders
from shared.database import Sessions
from shared.events.orders import (
    OrderCancelled,
    OrderCreated,
    OrderDelivered,
    OrderRefunded,
    OrderRejected,
    OrderShipped,
)
from shared.events.users import Contact, UserUpdated
from shared.ids import new_id
from shared.loops import connect_loops
from shared.sealed_contacts import OpenedContact
from tests.harness.builders import received
from tests.harness.databases import count_waiting, until_waiting
from tests.harness.personal_keys import profile_event
from tests.harness.waiting import until
from tests.notifications.attempts import claim_one
from tests.notifications.events import apply, notice_of, order_confirmed, user_created

ORDER: dict[str, Any] = {"number": "O-7", "total_cents": 4990, "currency": "GBP"}


async def rows_of(sessions: Sessions, *columns: Any) -> list[tuple[Any, ...]]:
    async with sessions() as session:
        return [tuple(row) for row in await session.execute(sa.select(*columns).order_by(*columns))]


async def deliveries_of(sessions: Sessions) -> list[tuple[Any, ...]]:
    return await rows_of(sessions, Delivery.channel, Delivery.status)


async def mail_statuses(sessions: Sessions) -> list[str]:
    return [status for channel, status in await deliveries_of(sessions) if channel == "email"]


async def events_in_outbox(sessions: Sessions) -> list[str]:
    async with sessions() as session:
        return list(await session.scalars(sa.text("SELECT type FROM outbox ORDER BY id")))


async def test_a_new_user_is_stored_and_welcomed(sessions: Sessions) -> None:
    user_id = new_id()

    await apply(sessions, user_created(user_id, email="ann@example.org", name="Ann"))

    assert await rows_of(sessions, Recipient.user_id, Recipient.email, Recipient.name) == [
        (user_id, "ann@example.org", "Ann")
    ]
    assert await rows_of(sessions, Notification.title, Notification.category) == [("Welcome to Orderly", "account")]
    assert await deliveries_of(sessions) == [("email", "queued"), ("in_app", "sent")]
    assert await is_due(sessions)
    assert await events_in_outbox(sessions) == ["notification.sent"]


async def test_an_updated_user_is_replaced_and_not_notified(sessions: Sessions) -> None:
    user_id = new_id()
    changed = profile_event(UserUpdated, user_id, email="ann@new.example", name="Ann B", locale="de")

    await apply(sessions, user_created(user_id), changed)

    assert await rows_of(sessions, Recipient.email, Recipient.name, Recipient.locale) == [
        ("ann@new.example", "Ann B", "de")
    ]
    assert await rows_of(sessions, Notification.event_type) == [("user.created",)]


async def test_an_older_event_overwrites_no_newer_recipient(sessions: Sessions) -> None:
    """Such an event may come by a replay, or after a position was reset."""
    user_id = new_id()

    for name, sequence in (("Ann", 1), ("Ann C", 5), ("Ann B", 3)):
        contact = Contact(email="ann@example.org", name=name, phone=None)
        recipient = OpenedContact(contact, "en", "UTC", email_verified=True, sequence=sequence)
        async with sessions.begin() as session:
            await replace_recipients(session, {user_id: recipient})

    assert await rows_of(sessions, Recipient.name, Recipient.sequence) == [("Ann C", 5)]


async def test_a_repeated_event_notifies_once(sessions: Sessions) -> None:
    user_id, event_id = new_id(), new_id()
    event = order_confirmed(user_id)
    await apply(sessions, user_created(user_id))

    await apply(sessions, event, event_id=event_id)
    await apply(sessions, event, event_id=event_id)
    # Also without the inbox, which may have been emptied for a replay.
    async with sessions.begin() as session:
        await session.execute(sa.text("DELETE FROM inbox"))
        await session.execute(sa.text("DELETE FROM inbox_sequence"))
    await apply(sessions, event, event_id=event_id)

    assert await rows_of(sessions, Notification.event_type) == [("order.confirmed",), ("user.created",)]
    assert await mail_statuses(sessions) == ["queued", "queued"]


async def test_a_repeated_event_in_one_batch_notifies_once(sessions: Sessions) -> None:
    event = order_confirmed(new_id())
    context = received(event, sequence=1).context
    assert context is not None

    async with sessions.begin() as session:
        await notify_of_orders(session, [(event, context), (event, context)])

    assert await deliveries_of(sessions) == [("email", "deferred"), ("in_app", "sent")]
    assert await events_in_outbox(sessions) == ["notification.sent"]


async def test_a_commit_of_queued_mails_wakes_the_worker(sessions: Sessions) -> None:
    woken, user_id = list[str](), new_id()
    connect_loops(sessions, [], notify=woken.append)

    await apply(sessions, order_confirmed(user_id))
    assert woken == []
    await apply(sessions, user_created(user_id))
    assert woken == [WORKER]
    with pytest.raises(RuntimeError):
        async with sessions.begin() as session:
            await notify_all(session, [notice_of(order_confirmed(user_id))])
            raise RuntimeError
    assert woken == [WORKER]
    assert await mail_statuses(sessions) == ["queued"] * 2


async def test_each_event_of_a_batch_keeps_its_trace(sessions: Sessions) -> None:
    traces = [f"{number:032x}" for number in range(1, 4)]
    notices = [notice_of(order_confirmed(new_id()), trace=trace) for trace in traces]

    async with sessions.begin() as session:
        await notify_all(session, notices)

    for table, condition in (("outbox", "true"), ("delivery", "channel = 'email'")):
        async with sessions() as session:
            query = f"SELECT substr(traceparent, 4, 32) AS trace FROM {table} WHERE {condition} ORDER BY trace"  # noqa: S608 - the test's own names
            assert list(await session.scalars(sa.text(query))) == traces


async def test_a_placed_order_does_not_notify(sessions: Sessions) -> None:
    user_id = new_id()

    await apply(sessions, OrderCreated(order_id=new_id(), user_id=user_id, deadline=datetime.now(UTC), **ORDER))

    assert await rows_of(sessions, Notification.id) == []


async def test_every_later_event_of_an_order_notifies(sessions: Sessions) -> None:
    user_id, order_id = new_id(), new_id()
    await apply(sessions, user_created(user_id, locale="de-AT"))
    order: dict[str, Any] = {"order_id": order_id, "user_id": user_id, **ORDER}

    await apply(
        sessions,
        order_confirmed(user_id, number="O-8"),
        OrderRejected(reason="limit_exceeded", **order),
        OrderCancelled(reason="customer", **order),
        OrderShipped(**order),
        OrderDelivered(**order),
        OrderRefunded(amount_cents=100, refunded_cents=100, **order),
    )

    titles = [title for (title,) in await rows_of(sessions, Notification.title)]
    assert titles == [
        "Bestellung O-7 ist angekommen",
        "Bestellung O-7 ist storniert",
        "Bestellung O-7 ist unterwegs",
        "Bestellung O-7 konnte nicht angenommen werden",
        "Bestellung O-8 ist bestätigt",
        "Erstattung für Bestellung O-7",
        "Willkommen bei Orderly",
    ]


async def test_twenty_lines_of_a_long_order_are_stored(sessions: Sessions) -> None:
    await apply(sessions, order_confirmed(new_id(), lines=675))

    [(data,)] = await rows_of(sessions, Notification.data)
    assert (len(data["lines"]), data["more_lines"], data["total_cents"]) == (20, 655, 675 * 1300)


async def test_a_mail_is_deferred_until_its_recipient_is_known(sessions: Sessions) -> None:
    user_id = new_id()

    await apply(sessions, order_confirmed(user_id))
    assert await deliveries_of(sessions) == [("email", "deferred"), ("in_app", "sent")]
    assert not await is_due(sessions)

    await apply(sessions, user_created(user_id, locale="de"))
    assert await deliveries_of(sessions) == [
        ("email", "queued"),
        ("email", "queued"),
        ("in_app", "sent"),
        ("in_app", "sent"),
    ]
    assert ("Bestellung O-1042 ist bestätigt",) in await rows_of(sessions, Notification.title)


async def test_a_recipient_who_arrives_during_the_deferral_gets_the_mail(sessions: Sessions) -> None:
    user_id = new_id()
    async with sessions.begin() as session:
        await notify_all(session, [notice_of(order_confirmed(user_id))])
        # The mail is deferred now, and invisible to other transactions.
        arrival = asyncio.create_task(apply(sessions, user_created(user_id)))
        await _until_done_or_waiting(sessions, arrival)
    await arrival

    assert await mail_statuses(sessions) == ["queued"] * 2


async def _until_done_or_waiting(sessions: Sessions, task: asyncio.Task[None]) -> None:
    async def is_done_or_waiting() -> bool:
        return task.done() or await count_waiting(sessions) > 0

    await until(is_done_or_waiting, what="the task ends or waits for a lock")


async def test_simultaneous_orders_and_recipients_leave_no_mail_deferred(sessions: Sessions) -> None:
    user_ids = [new_id() for _ in range(30)]

    await asyncio.gather(
        *(apply(sessions, order_confirmed(user_id)) for user_id in user_ids),
        *(apply(sessions, user_created(user_id)) for user_id in user_ids),
    )

    assert await mail_statuses(sessions) == ["queued"] * 60


async def test_mixed_users_in_opposite_order_do_not_deadlock(sessions: Sessions) -> None:
    ann, ben, cleo = (user_with_lock(lock) for lock in (1, 2, 3))
    async with sessions.begin() as blocker:
        await blocker.execute(LOCK, {"locks": [2]})
        # Ben's lock stops the orders between the locks of the other two.
        orders = asyncio.create_task(apply(sessions, *(order_confirmed(user_id) for user_id in (ann, ben, cleo))))
        await until_waiting(sessions, transactions=1)
        users = asyncio.create_task(apply(sessions, *(user_created(user_id) for user_id in (cleo, ann))))
        await until_waiting(sessions, transactions=2)
    await asyncio.gather(orders, users)

    assert sorted(await mail_statuses(sessions)) == ["deferred", *["queued"] * 4]


async def test_the_last_event_of_a_user_in_a_batch_wins(sessions: Sessions) -> None:
    ann, ben = new_id(), new_id()

    await apply(
        sessions,
        user_created(ann, name="Ann"),
        user_created(ben, name="Ben"),
        profile_event(UserUpdated, ann, email="ann@b.example", name="Ann B", locale="de"),
        profile_event(UserUpdated, ben, email="ben@b.example", name="Ben B", locale="de"),
        profile_event(UserUpdated, ann, email="ann@c.example", name="Ann C", locale="de"),
    )

    assert await rows_of(sessions, Recipient.name, Recipient.email) == [
        ("Ann C", "ann@c.example"),
        ("Ben B", "ben@b.example"),
    ]
    assert await rows_of(sessions, Notification.title) == [("Willkommen bei Orderly",)] * 2


async def test_a_malformed_trace_does_not_stop_a_notification(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await notify_all(session, [notice_of(order_confirmed(new_id()), trace="\0")])

    assert await rows_of(sessions, Delivery.channel, Delivery.traceparent) == [("email", None), ("in_app", None)]


def user_with_lock(lock: int) -> UUID:
    """Return a user id whose lock has this number."""
    return UUID(int=new_id().int // LOCKS * LOCKS + lock)


async def is_due(sessions: Sessions) -> bool:
    """Return whether a worker would find a mail to send."""
    async with sessions() as session:
        return (await claim_one(session)).attempts != []
