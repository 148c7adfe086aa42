"""Notifications are purged with their deliveries after their retention, and an old event does not notify again."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from services.notifications.jobs import purge_notifications
from services.notifications.models import Delivery, Notification
from services.notifications.settings import Settings
from services.notifications.subscribers import notify_of_orders
from shared.database import Sessions
from shared.events.orders import OrderConfirmed
from shared.ids import new_id
from shared.maintenance import maintain_all_partitions, purge_idle_positions, purge_in_batches
from shared.messaging.consumer.inbox import begin_batch
from shared.messaging.consumer.positions import POSITION_RETENTION
from shared.messaging.envelope import EventContext
from shared.messaging.storage.daily_partitions import INBOX_RETENTION, maintain_daily_partitions
from tests.harness.builders import id_of_age, received
from tests.harness.databases import execute_as_owner
from tests.harness.read_rows import count_reads
from tests.harness.rows import Rows
from tests.harness.waiting import until
from tests.notifications.events import apply, order_confirmed, user_created

MIN_RETENTION = timedelta(days=Settings.model_json_schema()["properties"]["retention_days"]["minimum"])
END = sa.text("UPDATE delivery SET status = 'sent', sent_at = now(), next_attempt_at = NULL WHERE status = 'queued'")


async def purge(sessions: Sessions, *, before: datetime) -> int:
    async def purge_batch(session: AsyncSession) -> int:
        return await purge_notifications(session, before=before, limit=2)

    return await purge_in_batches(sessions, purge_batch)


def now() -> datetime:
    return datetime.now(UTC)


def later() -> datetime:
    """Return a time after every notification of the test."""
    return now() + timedelta(minutes=1)


async def count(sessions: Sessions) -> tuple[int, int]:
    """Return the numbers of notifications and deliveries."""
    async with sessions() as session:
        notifications = await session.scalar(sa.select(sa.func.count()).select_from(Notification))
        deliveries = await session.scalar(sa.select(sa.func.count()).select_from(Delivery))
    return notifications or 0, deliveries or 0


async def end_deliveries(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await session.execute(END)


async def test_old_notifications_are_purged_with_their_deliveries(sessions: Sessions) -> None:
    user_id = new_id()
    await apply(sessions, user_created(user_id))
    await apply(sessions, *(order_confirmed(user_id) for _ in range(4)))
    await end_deliveries(sessions)
    time_between = now() + timedelta(milliseconds=2)

    async def has_passed() -> bool:
        return now() > time_between + timedelta(milliseconds=2)

    await until(has_passed)
    await apply(sessions, order_confirmed(user_id))
    await end_deliveries(sessions)
    assert await purge(sessions, before=now() - timedelta(minutes=1)) == 0
    assert await purge(sessions, before=time_between) == 5
    assert await count(sessions) == (1, 2)


async def test_a_notification_with_an_open_delivery_is_kept_and_a_deferred_one_is_purged(sessions: Sessions) -> None:
    await apply(sessions, user_created(new_id()))
    await apply(sessions, order_confirmed(new_id()))
    assert await purge(sessions, before=later()) == 1
    assert await count(sessions) == (1, 2)
    await end_deliveries(sessions)
    assert await purge(sessions, before=later()) == 1


async def test_a_purge_does_not_wait_for_a_transaction_that_has_locked_a_delivery(sessions: Sessions) -> None:
    await apply(sessions, order_confirmed(new_id()))
    async with sessions.begin() as other:
        await other.execute(sa.select(Delivery.id).where(Delivery.channel == "email").with_for_update())
        assert await purge(sessions, before=later()) == 0
    assert await purge(sessions, before=later()) == 1


async def notify_on_its_day(sessions: Sessions, event: OrderConfirmed, context: EventContext) -> None:
    """Apply an event as its consumer did while the inbox had a daily partition for the event's day."""
    async with sessions.begin() as session:
        await maintain_daily_partitions(session, "inbox", today=context.day)
        await begin_batch(
            session,
            consumer=f"notifications.{event.topic}",
            topic=event.topic,
            last={event.key: received(event, sequence=context.sequence, event_id=context.event_id)},
            contexts=[context],
        )
        await notify_of_orders(session, [(event, context)])


async def test_an_event_that_is_redelivered_after_the_purge_does_not_notify_again(sessions: Sessions) -> None:
    assert MIN_RETENTION > INBOX_RETENTION
    rows, event, event_id = Rows(sessions), order_confirmed(new_id()), id_of_age(MIN_RETENTION)
    context = received(event, sequence=1, event_id=event_id).context
    assert context is not None
    await notify_on_its_day(sessions, event, context)
    assert (await count(sessions), await rows.count("inbox")) == ((1, 2), 1)
    assert await purge(sessions, before=later()) == 1

    async def inbox_is_empty() -> bool:
        await maintain_all_partitions(sessions, now())
        return await rows.count("inbox") == 0

    await until(inbox_is_empty, what="the event's daily partition is dropped")
    # The consumer's position in the key still knows the event.
    await apply(sessions, event, event_id=event_id)
    assert (await count(sessions), await rows.dead_letters()) == ((0, 0), [])
    assert await purge_idle_positions(sessions, now() + POSITION_RETENTION + timedelta(days=1)) == 1
    await apply(sessions, event, event_id=event_id)
    assert (await count(sessions), await rows.dead_letters()) == ((0, 0), [(event.key, 1, "too_old")])


async def test_a_purge_reads_no_young_notifications(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await session.execute(
            sa.text("""
                INSERT INTO notification (id, user_id, event_id, event_type, category, title, data)
                SELECT uuidv7(), gen_random_uuid(), gen_random_uuid(), 'order.confirmed', 'orders', '', '{}'
                FROM generate_series(1, 5000)
            """)
        )
    await execute_as_owner(sessions, "ANALYZE notification")
    async with sessions.begin() as session:
        read = await count_reads(session, "notification")
        assert await purge_notifications(session, before=now() - timedelta(minutes=1), limit=1000) == 0
        # The planner itself may look at the first entries of an index.
        assert await read() <= 10
