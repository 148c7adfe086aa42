"""Attempts that a crash interrupts, or that another attempt overtakes."""

from uuid import UUID

import pytest

from services.notifications.channels import Attempt, Receipt, Send
from services.notifications.deliveries import LEASE
from services.notifications.delivery_worker import DeliveryWorker
from services.notifications.retries import RetryPolicy
from shared.database import Sessions
from tests.notifications.attempts import (
    WorkerOf,
    attempt_once,
    claim_one,
    mail_events,
    make_due,
    seconds_until_due,
    state_of,
)
from tests.notifications.smtp_server import SmtpServer


async def test_a_mail_sent_before_a_crash_is_sent_again_with_the_same_id(
    sessions: Sessions, worker: DeliveryWorker, send: Send, smtp_server: SmtpServer
) -> None:
    async with sessions.begin() as session:
        claimed = await claim_one(session)
    await send(claimed.attempts[0])  # the process crashes here

    await attempt_once(worker)
    assert await state_of(sessions) == ("sending", 1, None)
    due_in = await seconds_until_due(sessions)
    assert due_in is not None
    assert due_in <= LEASE.total_seconds()
    await make_due(sessions)
    await attempt_once(worker)

    assert await state_of(sessions) == ("sent", 2, None)
    assert len({mail["Message-ID"] for mail in smtp_server.mails}) == 1
    assert len(smtp_server.mails) == 2
    assert len(await mail_events(sessions)) == 1


async def test_a_delivery_fails_after_a_crash_in_an_attempt_that_was_late_enough_to_be_the_last(
    sessions: Sessions, delivery_id: UUID, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer
) -> None:
    async with sessions.begin() as session:
        claimed = await claim_one(session)
    await make_due(sessions, first_due_before=RetryPolicy().period)

    await attempt_once(worker_of(send))

    assert [each.delivery_id for each in claimed.attempts] == [delivery_id]
    assert await state_of(sessions) == ("failed", 1, "interrupted")
    assert [event_type for event_type, _ in await mail_events(sessions)] == ["notification.failed"]
    assert smtp_server.mails == []


@pytest.mark.parametrize("is_sent", [False, True])
async def test_the_outcome_of_an_outdated_attempt_changes_nothing(
    sessions: Sessions, worker: DeliveryWorker, worker_of: WorkerOf, send: Send, is_sent: bool
) -> None:
    async def overtaken(attempt: Attempt) -> Receipt:
        await make_due(sessions)
        await attempt_once(worker)
        if is_sent:
            return await send(attempt)
        raise ZeroDivisionError

    await attempt_once(worker_of(overtaken))

    assert await state_of(sessions) == ("sent", 2, None)
    assert len(await mail_events(sessions)) == 1


async def test_a_late_success_ends_the_retries(
    sessions: Sessions, worker: DeliveryWorker, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer
) -> None:
    async def overtaken(attempt: Attempt) -> Receipt:
        await make_due(sessions)
        smtp_server.replies["RCPT"].append("451 Try later")
        await attempt_once(worker)
        assert await state_of(sessions) == ("retrying", 2, "recipient_refused")
        return await send(attempt)

    await attempt_once(worker_of(overtaken))

    assert await state_of(sessions) == ("sent", 2, None)
    assert len(smtp_server.mails) == 1
    assert len(await mail_events(sessions)) == 1
