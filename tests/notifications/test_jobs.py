"""Deliveries through the job queue."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa

from services.notifications.channels import Send
from services.notifications.deliveries import requeue_lost
from services.notifications.jobs import delivery_jobs
from services.notifications.models import Delivery
from shared.database import Sessions, dsn_of
from shared.ids import new_id
from shared.jobs import JobRunner
from tests.harness.running import running
from tests.harness.waiting import until
from tests.notifications.events import apply, order_confirmed, user_created
from tests.notifications.smtp_server import SmtpServer

RunnerOf = Callable[[], JobRunner]


@pytest.fixture
def runner_of(database_url: str, sessions: Sessions, send: Send) -> RunnerOf:
    return lambda: JobRunner(
        delivery_jobs({"email": send}, max_attempts=8), dsn=dsn_of(database_url), sessions=sessions
    )


async def mail_statuses(sessions: Sessions) -> list[str]:
    async with sessions() as session:
        return list(await session.scalars(sa.select(Delivery.status).where(Delivery.channel == "email")))


async def wait_for_statuses(sessions: Sessions, *wanted: str) -> None:
    async def are_reached() -> bool:
        return await mail_statuses(sessions) == list(wanted)

    await until(are_reached, seconds=30, what=f"the statuses {wanted}")


async def test_every_event_leads_to_one_mail(sessions: Sessions, runner_of: RunnerOf, smtp_server: SmtpServer) -> None:
    user_id = new_id()
    async with running(runner_of(), runner_of()):
        await apply(sessions, user_created(user_id))
        await asyncio.gather(*(apply(sessions, order_confirmed(user_id, number=f"O-{n}")) for n in range(20)))
        await wait_for_statuses(sessions, *["sent"] * 21)

    assert sorted(mail["Subject"] for mail in smtp_server.mails) == sorted(
        ["Welcome to Orderly", *(f"Order O-{n} is confirmed" for n in range(20))]
    )


async def test_mail_is_sent_once_the_server_is_back(
    sessions: Sessions, runner_of: RunnerOf, smtp_server: SmtpServer
) -> None:
    await smtp_server.close()
    async with running(runner_of()):
        await apply(sessions, user_created(new_id()))
        await wait_for_statuses(sessions, "retrying")
        await smtp_server.open()
        await wait_for_statuses(sessions, "sent")

    assert len(smtp_server.mails) == 1


async def test_a_delivery_whose_job_is_lost_gets_a_new_one(
    sessions: Sessions, runner_of: RunnerOf, smtp_server: SmtpServer
) -> None:
    await apply(sessions, user_created(new_id()))
    async with sessions.begin() as session:
        await session.execute(sa.text("DELETE FROM pgqueuer"))
        await session.execute(
            sa.update(Delivery)
            .where(Delivery.channel == "email")
            .values(next_attempt_at=sa.func.now() - timedelta(minutes=2))
        )

    async with sessions.begin() as session:
        assert len(await requeue_lost(session)) == 1
    async with sessions.begin() as session:
        assert await requeue_lost(session) == []

    async with running(runner_of()):
        await wait_for_statuses(sessions, "sent")
    assert len(smtp_server.mails) == 1


async def test_an_overdue_delivery_with_a_queued_job_gets_no_second_job(sessions: Sessions) -> None:
    await apply(sessions, user_created(new_id()))
    async with sessions.begin() as session:
        await session.execute(
            sa.update(Delivery)
            .where(Delivery.channel == "email")
            .values(next_attempt_at=sa.func.now() - timedelta(minutes=2))
        )

    async with sessions.begin() as session:
        assert await requeue_lost(session) == []


@pytest.mark.parametrize(("overdue_seconds", "requeued"), [(70, 1), (50, 0)])
async def test_a_delivery_whose_job_failed_gets_a_new_one_after_a_minute(
    sessions: Sessions, overdue_seconds: int, requeued: int
) -> None:
    await apply(sessions, user_created(new_id()))
    async with sessions.begin() as session:
        await session.execute(sa.text("UPDATE pgqueuer SET status = 'failed'"))
        await session.execute(
            sa.update(Delivery)
            .where(Delivery.channel == "email")
            .values(next_attempt_at=sa.func.now() - timedelta(seconds=overdue_seconds))
        )

    async with sessions.begin() as session:
        assert len(await requeue_lost(session)) == requeued
