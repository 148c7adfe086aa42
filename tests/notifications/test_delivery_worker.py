"""The loop that sends deliveries: alone, beside others, and while its database or its mail server is away."""

import asyncio
from datetime import timedelta
from functools import partial

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.notifications import delivery_worker
from services.notifications.channels import MAX_CONCURRENT_SENDS, Send
from services.notifications.deliveries import WORKER
from services.notifications.models import Delivery, DeliveryAttempt
from shared.connection_urls import dsn_of
from shared.database import Sessions
from shared.ids import new_id
from shared.loops import connect_loops
from shared.messaging.outbox.wake_up import Notifier
from shared.transient_errors import is_transient
from tests.harness.database_outages import cut_connections, refusing_connections
from tests.harness.running import running
from tests.harness.waiting import until
from tests.notifications.attempts import HeldSends, WorkerOf, mail_statuses, users
from tests.notifications.events import apply, order_confirmed, user_created
from tests.notifications.smtp_server import SmtpServer


async def wait_for_statuses(sessions: Sessions, *wanted: str) -> None:
    async def are_reached() -> bool:
        return await mail_statuses(sessions) == list(wanted)

    await until(are_reached, seconds=30, what=f"the statuses {wanted}")


def timed_attempts() -> float:
    return REGISTRY.get_sample_value("notifications_attempt_seconds_count", {"channel": "email"}) or 0


async def test_every_event_leads_to_one_mail(
    sessions: Sessions, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer
) -> None:
    user_id = new_id()
    async with running(worker_of(send), worker_of(send)):
        await apply(sessions, user_created(user_id))
        await asyncio.gather(*(apply(sessions, order_confirmed(user_id, number=f"O-{n}")) for n in range(20)))
        await wait_for_statuses(sessions, *["sent"] * 21)

    assert sorted(mail["Subject"] for mail in smtp_server.mails) == sorted(
        ["Welcome to Orderly", *(f"Order O-{n} is confirmed" for n in range(20))]
    )


async def test_mail_is_sent_once_the_server_is_back(
    sessions: Sessions, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer
) -> None:
    await smtp_server.close()
    attempts_before = timed_attempts()
    async with running(worker_of(send)):
        await users(sessions, 1)
        await wait_for_statuses(sessions, "retrying")
        await smtp_server.open()
        await wait_for_statuses(sessions, "sent")

    assert len(smtp_server.mails) == 1
    assert timed_attempts() - attempts_before >= 2


async def test_a_failed_attempt_is_recorded_with_the_number_of_the_reply(
    sessions: Sessions, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer
) -> None:
    smtp_server.replies["RCPT"].append("421 4.7.0 ann@example.org: try again later")
    async with running(worker_of(send)):
        await users(sessions, 1)
        await wait_for_statuses(sessions, "sent")

    async with sessions() as session:
        attempts = await session.scalars(sa.select(DeliveryAttempt))
        assert [(each.number, each.error, each.reply_code) for each in attempts] == [(1, "recipient_refused", 421)]


async def test_a_process_claims_no_more_than_it_sends_at_once(sessions: Sessions, worker_of: WorkerOf) -> None:
    held = HeldSends()
    await users(sessions, MAX_CONCURRENT_SENDS + 3)
    async with running(worker_of(held.send)):
        await held.until_begun(MAX_CONCURRENT_SENDS)
        statuses = await mail_statuses(sessions)
        held.may_end.set()
        await wait_for_statuses(sessions, *["sent"] * (MAX_CONCURRENT_SENDS + 3))

    assert sorted(statuses) == ["queued"] * 3 + ["sending"] * MAX_CONCURRENT_SENDS
    assert {attempt.number for attempt in held.begun} == {1}


async def test_a_commit_wakes_the_worker_of_its_process_and_notifies_those_of_others(
    sessions: Sessions, database_url: str, worker_of: WorkerOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_worker, "POLL_INTERVAL_SECONDS", 600)
    held = HeldSends()
    held.may_end.set()
    own, other, notifier = worker_of(held.send), worker_of(held.send), Notifier(dsn=dsn_of(database_url))
    async with running(own):
        connect_loops(sessions, [own], notify=notifier.wake)
        await users(sessions, 1)
        await wait_for_statuses(sessions, "sent")
    async with running(other, notifier):
        connect_loops(sessions, [], notify=notifier.wake)

        async def is_listening() -> bool:
            async with sessions() as session:
                query = sa.text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
                return bool(await session.scalar(query))

        await until(is_listening, what="the other worker listens")
        await users(sessions, 1)
        await wait_for_statuses(sessions, "sent", "sent")
    assert own.name == other.name == WORKER


async def test_a_stopping_worker_records_its_current_attempts_and_begins_no_more(
    sessions: Sessions, worker_of: WorkerOf
) -> None:
    held, count = HeldSends(), MAX_CONCURRENT_SENDS + 1
    await users(sessions, count)
    worker = worker_of(held.send)
    async with running(worker):
        await held.until_begun(MAX_CONCURRENT_SENDS)
        worker.stop()
        held.may_end.set()

    assert sorted(await mail_statuses(sessions)) == ["queued", *["sent"] * MAX_CONCURRENT_SENDS]
    assert len(held.begun) == MAX_CONCURRENT_SENDS


async def test_attempts_that_outlive_the_stop_are_cancelled(
    sessions: Sessions, worker_of: WorkerOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_worker, "STOP_TIMEOUT_SECONDS", 0.1)
    held = HeldSends()
    await users(sessions, 1)
    with capture_logs() as logs:
        async with running(worker_of(held.send)):
            await held.until_begun(1)

    assert [line["attempts"] for line in logs if line["event"] == "delivery_attempts_cancelled"] == [1]
    assert await mail_statuses(sessions) == ["sending"]


async def test_an_outcome_survives_an_outage_of_the_database(
    sessions: Sessions, database_url: str, postgres_admin_url: str, worker_of: WorkerOf
) -> None:
    held = HeldSends()
    await users(sessions, 1)
    worker = worker_of(held.send)
    async with running(worker):
        await held.until_begun(1)
        async with refusing_connections(postgres_admin_url, database_url):
            held.may_end.set()

            async def is_backing_off() -> bool:
                return worker._retry_delay_seconds > delivery_worker.INITIAL_RETRY_DELAY_SECONDS * 2

            await until(is_backing_off, what="the worker backs off")
        await wait_for_statuses(sessions, "sent")

    assert len(held.begun) == 1


async def test_mails_are_sent_after_the_connections_were_cut(
    sessions: Sessions, database_url: str, postgres_admin_url: str, worker_of: WorkerOf, send: Send
) -> None:
    async with running(worker_of(send)):
        await users(sessions, 1)
        await wait_for_statuses(sessions, "sent")
        await cut_connections(postgres_admin_url, database_url)
        await until(partial(_applies, sessions), what="the database answers")
        await until(partial(_all_sent, sessions), what="all mails are sent")


async def test_an_attempt_that_was_interrupted_is_made_again(
    sessions: Sessions, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer
) -> None:
    await users(sessions, 1)
    async with sessions.begin() as session:
        changes = {"status": "sending", "attempts": 1, "next_attempt_at": sa.func.now() + timedelta(seconds=1)}
        await session.execute(sa.update(Delivery).where(Delivery.channel == "email").values(changes))
    async with running(worker_of(send)):
        await wait_for_statuses(sessions, "sent")

    assert len(smtp_server.mails) == 1


async def test_an_idle_worker_opens_no_transaction(sessions: Sessions, worker_of: WorkerOf, send: Send) -> None:
    worker = worker_of(send)
    checkouts: list[object] = []
    pool = sessions.kw["bind"].sync_engine.pool
    async with running(worker):
        await users(sessions, 1)
        await wait_for_statuses(sessions, "sent")
        sa.event.listen(pool, "checkout", lambda *arguments: checkouts.append(arguments[0]))
        await asyncio.sleep(2 * delivery_worker.POLL_INTERVAL_SECONDS)
        assert worker.heartbeat.age_seconds < 2 * delivery_worker.POLL_INTERVAL_SECONDS
    assert checkouts == []


async def _applies(sessions: Sessions) -> bool:
    try:
        await users(sessions, 1)
    except Exception as error:
        if not is_transient(error):
            raise
        return False
    return True


async def _all_sent(sessions: Sessions) -> bool:
    return set(await mail_statuses(sessions)) == {"sent"}
