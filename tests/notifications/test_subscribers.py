"""Recipients, notifications, deliveries and jobs that events create."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from services.notifications.commands import notify, replace_recipient
from services.notifications.models import Delivery, Notification, Recipient
from shared.database import Sessions
from shared.events.orders import (
    OrderCancelled,
    OrderCreated,
    OrderDelivered,
    OrderRefunded,
    OrderRejected,
    OrderShipped,
)
from shared.events.users import UserUpdated
from shared.ids import new_id
from tests.harness.databases import count_waiting
from tests.harness.waiting import until
from tests.notifications.events import apply, order_confirmed, user_created

ORDER: dict[str, Any] = {"number": "O-7", "total_cents": 4990, "currency": "GBP"}


async def rows_of(sessions: Sessions, *columns: Any) -> list[tuple[Any, ...]]:
    async with sessions() as session:
        return [tuple(row) for row in await session.execute(sa.select(*columns).order_by(*columns))]


async def deliveries_of(sessions: Sessions) -> list[tuple[Any, ...]]:
    return await rows_of(sessions, Delivery.channel, Delivery.status)


async def count_jobs(sessions: Sessions) -> int:
    async with sessions() as session:
        return await session.scalar(sa.text("SELECT count(*) FROM pgqueuer WHERE entrypoint = 'deliver_email'")) or 0


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
    assert await count_jobs(sessions) == 1
    assert await events_in_outbox(sessions) == ["notification.sent"]


async def test_an_updated_user_is_replaced_and_not_notified(sessions: Sessions) -> None:
    user_id = new_id()
    changed = UserUpdated(
        user_id=user_id, email="ann@new.example", name="Ann B", phone=None, locale="de", time_zone="UTC"
    )

    await apply(sessions, user_created(user_id), changed)

    assert await rows_of(sessions, Recipient.email, Recipient.name, Recipient.locale) == [
        ("ann@new.example", "Ann B", "de")
    ]
    assert await rows_of(sessions, Notification.event_type) == [("user.created",)]


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
    assert await count_jobs(sessions) == 2


async def test_a_transaction_that_is_rolled_back_leaves_no_job(sessions: Sessions) -> None:
    with pytest.raises(RuntimeError):
        async with sessions.begin() as session:
            user_id = new_id()
            await replace_recipient(
                session, user_id=user_id, email="a@example.org", name="A", locale="en", time_zone="UTC"
            )
            await notify(
                session, user_id=user_id, event_id=new_id(), event_type="user.created", category="account", data={}
            )
            raise RuntimeError

    assert await count_jobs(sessions) == 0
    assert await rows_of(sessions, Notification.id) == []


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
    assert await count_jobs(sessions) == 0

    await apply(sessions, user_created(user_id, locale="de"))
    assert await deliveries_of(sessions) == [
        ("email", "queued"),
        ("email", "queued"),
        ("in_app", "sent"),
        ("in_app", "sent"),
    ]
    assert await count_jobs(sessions) == 2
    assert ("Bestellung O-1042 ist bestätigt",) in await rows_of(sessions, Notification.title)


async def test_a_recipient_who_arrives_during_the_deferral_gets_the_mail(sessions: Sessions) -> None:
    user_id = new_id()
    async with sessions.begin() as session:
        await notify(
            session, user_id=user_id, event_id=new_id(), event_type="user.created", category="account", data={}
        )
        # The mail is deferred now, and invisible to other transactions.
        arrival = asyncio.create_task(apply(sessions, user_created(user_id)))
        await _until_done_or_waiting(sessions, arrival)
    await arrival

    assert [state for state in await deliveries_of(sessions) if state[0] == "email"] == [("email", "queued")] * 2
    assert await count_jobs(sessions) == 2


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

    statuses = {status for channel, status in await deliveries_of(sessions) if channel == "email"}
    assert statuses == {"queued"}
    assert await count_jobs(sessions) == 60
