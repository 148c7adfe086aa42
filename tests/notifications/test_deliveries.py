"""Attempts of deliveries, with every kind of reply of the mail server."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from pgqueuer.errors import RetryRequested

from services.notifications.channels import Attempt, Receipt, Send
from services.notifications.deliveries import begin_attempt
from services.notifications.jobs import deliver
from services.notifications.models import Delivery
from services.notifications.smtp import MAX_CONNECTIONS
from shared.database import Sessions
from shared.ids import new_id
from tests.notifications.events import apply, user_created
from tests.notifications.smtp_server import SmtpServer


@pytest.fixture
async def delivery_id(sessions: Sessions) -> UUID:
    """The id of the delivery of one user's welcome mail."""
    await apply(sessions, user_created(new_id()))
    return (await delivery_of(sessions)).id


async def delivery_of(sessions: Sessions) -> Delivery:
    async with sessions() as session:
        return (await session.scalars(sa.select(Delivery).where(Delivery.channel == "email"))).one()


async def state_of(sessions: Sessions) -> tuple[str, int, str | None]:
    delivery = await delivery_of(sessions)
    return delivery.status, delivery.attempts, delivery.last_error


async def mail_events(sessions: Sessions) -> list[tuple[str, Any]]:
    """Return types and data of the events recorded about mails, not about in-app notifications."""
    query = sa.text("SELECT type, convert_from(payload, 'UTF8')::jsonb FROM outbox ORDER BY id")
    async with sessions() as session:
        rows = await session.execute(query)
        return [(type_, data) for type_, data in rows if data["channel"] == "email"]


async def make_due(sessions: Sessions) -> None:
    async with sessions.begin() as session:
        await session.execute(
            sa.update(Delivery)
            .where(Delivery.next_attempt_at.is_not(None))
            .values(next_attempt_at=sa.func.now() - timedelta(seconds=1))
        )


async def attempt_once(sessions: Sessions, delivery_id: UUID, send: Send, *, max_attempts: int = 8) -> timedelta | None:
    """Make one attempt, and return the delay until the retry; None if there is to be none."""
    try:
        await deliver(sessions, delivery_id, channel="email", send=send, max_attempts=max_attempts)
    except RetryRequested as retry:
        return retry.delay
    return None


async def test_an_accepted_mail_is_sent_and_recorded_as_an_event(
    sessions: Sessions, delivery_id: UUID, send: Send, smtp_server: SmtpServer
) -> None:
    assert await attempt_once(sessions, delivery_id, send) is None

    delivery = await delivery_of(sessions)
    assert (delivery.status, delivery.attempts, delivery.provider) == ("sent", 1, "smtp")
    assert delivery.sent_at is not None
    assert [mail["Message-ID"] for mail in smtp_server.mails] == [f"<{delivery_id}@orderly.example>"]
    assert delivery.provider_message_id == smtp_server.mails[0]["Message-ID"]
    [(event_type, data)] = await mail_events(sessions)
    assert event_type == "notification.sent"
    assert data["notification_id"] == str(delivery.notification_id)
    assert "ann@example.org" not in str(data)


async def test_a_sent_mail_is_not_sent_again(
    sessions: Sessions, delivery_id: UUID, send: Send, smtp_server: SmtpServer
) -> None:
    await attempt_once(sessions, delivery_id, send)
    await attempt_once(sessions, delivery_id, send)

    assert len(smtp_server.mails) == 1
    assert len(await mail_events(sessions)) == 1


async def test_simultaneous_jobs_of_one_delivery_send_one_mail(
    sessions: Sessions, delivery_id: UUID, send: Send, smtp_server: SmtpServer
) -> None:
    smtp_server.replying.clear()
    attempts = [asyncio.create_task(attempt_once(sessions, delivery_id, send)) for _ in range(5)]
    # All but the one that sends return a retry delay.
    await asyncio.wait_for(_when_done(attempts, count=4), timeout=10)
    smtp_server.replying.set()
    delays = await asyncio.gather(*attempts)

    assert delays.count(None) == 1
    assert len(smtp_server.mails) == 1
    assert (await state_of(sessions)) == ("sent", 1, None)


async def _when_done(tasks: list[asyncio.Task[timedelta | None]], *, count: int) -> None:
    while sum(task.done() for task in tasks) < count:
        await asyncio.wait([task for task in tasks if not task.done()], return_when=asyncio.FIRST_COMPLETED)


@pytest.mark.parametrize(
    ("step", "reply", "code"),
    [("RCPT", "451 Try later", "recipient_refused"), ("DATA", "452 Full", "message_refused")],
)
async def test_a_4xx_is_retried(
    sessions: Sessions, delivery_id: UUID, send: Send, smtp_server: SmtpServer, step: str, reply: str, code: str
) -> None:
    smtp_server.replies[step].append(reply)

    assert await attempt_once(sessions, delivery_id, send) == timedelta(seconds=1)
    assert await state_of(sessions) == ("retrying", 1, code)
    assert await mail_events(sessions) == []

    await make_due(sessions)
    assert await attempt_once(sessions, delivery_id, send) is None
    assert await state_of(sessions) == ("sent", 2, None)
    assert len(smtp_server.mails) == 1


@pytest.mark.parametrize(
    ("step", "reply", "code"),
    [("RCPT", "550 Unknown", "recipient_refused"), ("DATA", "554 Spam", "message_refused")],
)
async def test_a_5xx_fails_at_once_and_is_recorded_as_an_event(
    sessions: Sessions, delivery_id: UUID, send: Send, smtp_server: SmtpServer, step: str, reply: str, code: str
) -> None:
    smtp_server.replies[step].append(reply)

    assert await attempt_once(sessions, delivery_id, send) is None

    assert await state_of(sessions) == ("failed", 1, code)
    [(event_type, data)] = await mail_events(sessions)
    assert (event_type, data["reason"]) == ("notification.failed", code)
    assert await attempt_once(sessions, delivery_id, send) is None
    assert smtp_server.mails == []


async def test_a_retry_is_not_made_before_it_is_due(
    sessions: Sessions, delivery_id: UUID, send: Send, smtp_server: SmtpServer
) -> None:
    smtp_server.replies["RCPT"].append("451 Try later")
    await attempt_once(sessions, delivery_id, send)

    delay = await attempt_once(sessions, delivery_id, send)

    assert delay is not None
    assert timedelta(0) < delay <= timedelta(seconds=1)
    assert await state_of(sessions) == ("retrying", 1, "recipient_refused")


async def test_delays_double_and_the_delivery_fails_after_the_last_attempt(
    sessions: Sessions, delivery_id: UUID, send: Send, smtp_server: SmtpServer
) -> None:
    await smtp_server.close()
    delays = []
    for _ in range(4):
        delays.append(await attempt_once(sessions, delivery_id, send, max_attempts=4))
        await make_due(sessions)

    assert delays == [timedelta(seconds=1), timedelta(seconds=2), timedelta(seconds=4), None]
    assert await state_of(sessions) == ("failed", 4, "unreachable")
    [(event_type, data)] = await mail_events(sessions)
    assert (event_type, data["reason"]) == ("notification.failed", "unreachable")


async def test_delays_stop_growing_at_five_minutes(sessions: Sessions, delivery_id: UUID) -> None:
    async with sessions.begin() as session:
        await session.execute(sa.update(Delivery).where(Delivery.id == delivery_id).values(attempts=20))

    async def fail(_attempt: Attempt) -> Receipt:
        raise ZeroDivisionError

    assert await attempt_once(sessions, delivery_id, fail, max_attempts=30) == timedelta(minutes=5)
    assert await state_of(sessions) == ("retrying", 21, "internal_error")


async def test_a_mail_sent_before_a_crash_is_sent_again_with_the_same_id(
    sessions: Sessions, delivery_id: UUID, send: Send, smtp_server: SmtpServer
) -> None:
    async with sessions.begin() as session:
        begun = await begin_attempt(session, delivery_id=delivery_id, max_attempts=8)
    assert isinstance(begun, Attempt)
    await send(begun)  # the process crashes here

    delay = await attempt_once(sessions, delivery_id, send)
    assert delay is not None
    assert timedelta(seconds=20) < delay <= timedelta(seconds=30)
    await make_due(sessions)
    assert await attempt_once(sessions, delivery_id, send) is None

    assert await state_of(sessions) == ("sent", 2, None)
    assert len({mail["Message-ID"] for mail in smtp_server.mails}) == 1
    assert len(smtp_server.mails) == 2
    assert len(await mail_events(sessions)) == 1


async def test_a_delivery_fails_after_a_crash_in_the_last_attempt(
    sessions: Sessions, delivery_id: UUID, send: Send, smtp_server: SmtpServer
) -> None:
    async with sessions.begin() as session:
        await begin_attempt(session, delivery_id=delivery_id, max_attempts=1)
    await make_due(sessions)

    assert await attempt_once(sessions, delivery_id, send, max_attempts=1) is None

    assert await state_of(sessions) == ("failed", 1, "interrupted")
    assert [event_type for event_type, _ in await mail_events(sessions)] == ["notification.failed"]
    assert smtp_server.mails == []


async def test_a_late_failure_does_not_overwrite_another_attempt(
    sessions: Sessions, delivery_id: UUID, send: Send
) -> None:
    async def overtaken(_attempt: Attempt) -> Receipt:
        await make_due(sessions)
        await attempt_once(sessions, delivery_id, send)
        raise ZeroDivisionError

    assert await attempt_once(sessions, delivery_id, overtaken) is None

    assert await state_of(sessions) == ("sent", 2, None)
    assert len(await mail_events(sessions)) == 1


async def test_a_late_success_records_no_second_event(sessions: Sessions, delivery_id: UUID, send: Send) -> None:
    async def overtaken(attempt: Attempt) -> Receipt:
        await make_due(sessions)
        await attempt_once(sessions, delivery_id, send)
        return await send(attempt)

    assert await attempt_once(sessions, delivery_id, overtaken) is None

    assert await state_of(sessions) == ("sent", 2, None)
    assert len(await mail_events(sessions)) == 1


async def test_a_connection_is_reused_and_replaced_after_a_restart(
    sessions: Sessions, send: Send, smtp_server: SmtpServer
) -> None:
    async def send_to_new_user() -> None:
        await apply(sessions, user_created(new_id()))
        async with sessions() as session:
            newest = await session.scalar(
                sa.select(Delivery.id).where(Delivery.channel == "email").order_by(Delivery.id.desc()).limit(1)
            )
        assert newest is not None
        assert await attempt_once(sessions, newest, send) is None

    await send_to_new_user()
    smtp_server.replies["RCPT"].append("550 Unknown")
    await send_to_new_user()
    await send_to_new_user()
    assert smtp_server.connections == 1

    await smtp_server.close()
    await smtp_server.open()
    await send_to_new_user()
    assert smtp_server.connections == 2
    assert len(smtp_server.mails) == 3


async def test_many_mails_share_a_few_connections(sessions: Sessions, send: Send, smtp_server: SmtpServer) -> None:
    await asyncio.gather(*(apply(sessions, user_created(new_id())) for _ in range(30)))
    async with sessions() as session:
        ids = (await session.scalars(sa.select(Delivery.id).where(Delivery.channel == "email"))).all()

    await asyncio.gather(*(attempt_once(sessions, each, send) for each in ids))

    assert len(smtp_server.mails) == 30
    assert smtp_server.connections <= MAX_CONNECTIONS
