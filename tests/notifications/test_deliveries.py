"""Attempts of deliveries, with every kind of reply of the mail server."""

import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from services.notifications.channels import Attempt, Receipt, Send, SendFailed
from services.notifications.deliveries import outcome_of
from services.notifications.delivery_worker import DeliveryWorker
from services.notifications.models import Delivery
from services.notifications.retries import RetryPolicy
from shared.database import Sessions
from shared.ids import new_id
from tests.harness.waiting import until
from tests.notifications.attempts import (
    WorkerOf,
    attempt_once,
    delivery_of,
    mail_events,
    make_due,
    seconds_until_due,
    state_of,
)
from tests.notifications.events import apply, user_created
from tests.notifications.smtp_server import SmtpServer
from tests.notifications.test_mail import attempt


async def test_an_accepted_mail_is_sent_and_recorded_as_an_event(
    sessions: Sessions, delivery_id: UUID, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    await attempt_once(worker)

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
    sessions: Sessions, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    await attempt_once(worker)
    await attempt_once(worker)

    assert len(smtp_server.mails) == 1
    assert len(await mail_events(sessions)) == 1


async def test_simultaneous_workers_send_one_mail(
    sessions: Sessions, delivery_id: UUID, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer
) -> None:
    smtp_server.replying.clear()
    attempts = [asyncio.create_task(attempt_once(worker_of(send))) for _ in range(5)]

    async def all_others_have_ended() -> bool:
        return sum(task.done() for task in attempts) == 4

    await until(all_others_have_ended, what="all but one found nothing to do")
    smtp_server.replying.set()
    await asyncio.gather(*attempts)

    assert [mail["Message-ID"] for mail in smtp_server.mails] == [f"<{delivery_id}@orderly.example>"]
    assert (await state_of(sessions)) == ("sent", 1, None)


@pytest.mark.parametrize(
    ("step", "reply", "code"),
    [("RCPT", "451 Try later", "recipient_refused"), ("DATA", "452 Full", "message_refused")],
)
async def test_a_4xx_is_retried(
    sessions: Sessions, worker: DeliveryWorker, smtp_server: SmtpServer, step: str, reply: str, code: str
) -> None:
    smtp_server.replies[step].append(reply)

    await attempt_once(worker)
    assert await state_of(sessions) == ("retrying", 1, code)
    due_in = await seconds_until_due(sessions)
    assert due_in is not None
    assert due_in <= 1.5
    assert await mail_events(sessions) == []

    await make_due(sessions)
    await attempt_once(worker)
    assert await state_of(sessions) == ("sent", 2, None)
    assert len(smtp_server.mails) == 1


@pytest.mark.parametrize(
    ("step", "reply", "code"),
    [("RCPT", "550 Unknown", "recipient_refused"), ("DATA", "554 Spam", "message_refused")],
)
async def test_a_5xx_fails_at_once_and_is_recorded_as_an_event(
    sessions: Sessions, worker: DeliveryWorker, smtp_server: SmtpServer, step: str, reply: str, code: str
) -> None:
    smtp_server.replies[step].append(reply)

    await attempt_once(worker)

    assert await state_of(sessions) == ("failed", 1, code)
    [(event_type, data)] = await mail_events(sessions)
    assert (event_type, data["reason"]) == ("notification.failed", code)
    await attempt_once(worker)
    assert smtp_server.mails == []


async def test_a_retry_is_not_made_before_it_is_due(
    sessions: Sessions, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    smtp_server.replies["RCPT"].append("451 Try later")
    await attempt_once(worker)

    await attempt_once(worker)

    assert await state_of(sessions) == ("retrying", 1, "recipient_refused")


async def test_a_delivery_fails_once_it_was_tried_for_long_enough(
    sessions: Sessions, worker_of: WorkerOf, smtp_server: SmtpServer, send: Send
) -> None:
    await apply(sessions, user_created(new_id()))
    await smtp_server.close()
    worker = worker_of(send, retry_policy=RetryPolicy(period=timedelta(hours=24)))
    tries = 60
    # However many attempts there were: an outage may begin before the first one, and end after the last.
    for _ in range(tries):
        await attempt_once(worker)
        await make_due(sessions, first_due_before=timedelta(hours=23, minutes=59))
    assert await state_of(sessions) == ("retrying", tries, "unreachable")
    assert await mail_events(sessions) == []

    await make_due(sessions, first_due_before=timedelta(hours=24))
    await attempt_once(worker)

    assert await state_of(sessions) == ("failed", tries + 1, "unreachable")
    assert await seconds_until_due(sessions) is None
    [(event_type, data)] = await mail_events(sessions)
    assert (event_type, data["reason"]) == ("notification.failed", "unreachable")


async def test_a_delivery_that_waits_for_days_is_tried(
    sessions: Sessions, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    await make_due(sessions, first_due_before=timedelta(days=3))

    await attempt_once(worker)

    assert await state_of(sessions) == ("sent", 1, None)
    assert len(smtp_server.mails) == 1


async def test_the_first_retry_comes_after_a_minute(
    sessions: Sessions, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer
) -> None:
    await apply(sessions, user_created(new_id()))
    smtp_server.replies["RCPT"].append("450 Greylisted")

    await attempt_once(worker_of(send, retry_policy=RetryPolicy()))

    due_in = await seconds_until_due(sessions)
    assert due_in is not None
    # Shorter on a slow machine.
    assert 30 < due_in <= 90


def test_delays_double_up_to_an_hour_and_cover_a_day() -> None:
    policy = RetryPolicy()

    delays = [policy.delay_after(tries) for tries in range(1, 30)]

    minutes = [1, 2, 4, 8, 16, 32, *[60] * 23]
    assert delays == [timedelta(minutes=delay) for delay in minutes]
    assert sum(delays, timedelta()) > policy.period
    assert policy.delay_after(10_000) == policy.max_delay


def test_retries_of_mails_that_failed_together_are_spread() -> None:
    failed = [
        outcome_of(attempt(tries=1), SendFailed("unreachable"), retry_policy=RetryPolicy()).retry_delay
        for _ in range(1_000)
    ]

    seconds = sorted(delay.total_seconds() for delay in failed if delay is not None)
    assert len(seconds) == 1_000
    assert 60 <= seconds[0] < 65
    assert 85 < seconds[-1] <= 90


async def test_a_crash_of_the_channel_is_retried(sessions: Sessions, delivery_id: UUID, worker_of: WorkerOf) -> None:
    async def crash(attempt: Attempt) -> Receipt:
        assert attempt.delivery_id == delivery_id
        raise ZeroDivisionError

    await attempt_once(worker_of(crash))

    assert await state_of(sessions) == ("retrying", 1, "internal_error")


async def test_outcomes_of_several_deliveries_are_recorded_together(
    sessions: Sessions, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer
) -> None:
    await apply(sessions, *(user_created(new_id(), email=f"user-{number}@example.org") for number in range(3)))
    smtp_server.replies["RCPT"].extend(["250 OK", "550 Unknown", "451 Try later"])

    await attempt_once(worker_of(send))

    async with sessions() as session:
        statuses = list(await session.scalars(sa.select(Delivery.status).where(Delivery.channel == "email")))
    assert sorted(statuses) == ["failed", "retrying", "sent"]
    assert sorted(event_type for event_type, _ in await mail_events(sessions)) == [
        "notification.failed",
        "notification.sent",
    ]


async def test_a_mail_continues_the_trace_of_its_event(
    sessions: Sessions, worker: DeliveryWorker, smtp_server: SmtpServer
) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with sessions.begin() as session:
        await session.execute(sa.update(Delivery).values(traceparent=f"00-{trace}-b7ad6b7169203331-01"))

    await attempt_once(worker)

    assert len(smtp_server.mails) == 1
    async with sessions() as session:
        traces = await session.scalars(sa.text("SELECT substr(traceparent, 4, 32) FROM outbox ORDER BY id DESC"))
        assert traces.first() == trace
