"""A process that sends mails is killed at every failpoint of its loop and restarted, and every mail is sent."""

import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa

from services.notifications.channels import MAX_CONCURRENT_SENDS
from shared.database import Database, open_database
from shared.ids import new_id
from shared.messaging.failpoints import NAMES
from tests.chaos import mail_worker
from tests.chaos.forked_process import ForkedProcess
from tests.chaos.mail_worker import MailPlan
from tests.harness.databases import DatabaseFactory
from tests.harness.rows import Rows
from tests.harness.waiting import until
from tests.notifications.events import apply, user_created
from tests.notifications.smtp_server import SmtpServer

JOB_FAILPOINTS = [name for name in NAMES if name.startswith("job.")]
PEOPLE = 3 * MAX_CONCURRENT_SENDS
"""Enough for three transactions that claim, and three that record."""
# Another process takes over the deliveries of a dead one after 30 s: shift their time into the past.
EXPIRE = "UPDATE delivery SET next_attempt_at = now() WHERE status = 'sending'"


@pytest.fixture
async def database(database_factory: DatabaseFactory) -> AsyncIterator[Database]:
    opened = open_database(await database_factory("notifications"), service="notifications", pool_size=2)
    yield opened
    await opened.close()


@pytest.fixture
async def smtp_server() -> AsyncIterator[SmtpServer]:
    server = SmtpServer()
    await server.open()
    yield server
    await server.close()


async def until_no_connection_is_left(database: Database, admin_url: str) -> None:
    """Wait for the backends of a killed process: they still finish, and may commit, the last statement."""
    await database.engine.dispose()
    admin = await asyncpg.connect(admin_url)

    async def no_connection_is_left() -> bool:
        query = "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'"
        return bool(await admin.fetchval(query, database.engine.url.database))

    try:
        await until(no_connection_is_left, what="the end of the last connection")
    finally:
        await admin.close()


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("name", JOB_FAILPOINTS)
async def test_every_mail_has_one_message_id_after_a_kill_at_any_failpoint(
    database: Database, postgres_admin_url: str, smtp_server: SmtpServer, tmp_path: Path, name: str, nth: int
) -> None:
    await apply(
        database.sessions, *(user_created(new_id(), email=f"person-{number}@example.org") for number in range(PEOPLE))
    )
    url = database.engine.url.render_as_string(hide_password=False)
    killed = ForkedProcess(
        mail_worker.main,
        MailPlan(database_url=url, smtp_url=smtp_server.url, folder=tmp_path, failpoints=f"{name}=kill@{nth}"),
    )
    assert await killed.exits_within(60), f"{name} was not passed {nth} times"
    assert killed.exit_status == -signal.SIGKILL
    await until_no_connection_is_left(database, postgres_admin_url)
    rows = Rows(database.sessions)
    recorded = await rows.of("SELECT provider_message_id FROM delivery WHERE channel = 'email' AND status = 'sent'")
    async with database.sessions.begin() as session:
        await session.execute(sa.text(EXPIRE))
    successor = ForkedProcess(mail_worker.main, MailPlan(database_url=url, smtp_url=smtp_server.url, folder=tmp_path))

    async def all_sent() -> bool:
        return await rows.of("SELECT count(*) FROM delivery WHERE status <> 'sent'") == [(0,)]

    try:
        await until(all_sent, what="the sending of every mail")
    finally:
        await successor.stop()
    message_ids: dict[str, list[str]] = {}
    for mail in smtp_server.mails:
        message_ids.setdefault(mail["To"].addresses[0].addr_spec, []).append(mail["Message-ID"])
    assert [len(set(ids)) for ids in message_ids.values()] == [1] * PEOPLE
    # A kill between sending and recording repeats the mails under way. Recorded mails are not sent again.
    times = Counter(message_id for ids in message_ids.values() for message_id in ids)
    assert max(times.values()) <= 2
    assert [times[message_id] for (message_id,) in recorded] == [1] * len(recorded)
    announced = await rows.of("SELECT count(*) FROM outbox WHERE type = 'notification.sent'")
    assert announced == [(2 * PEOPLE,)]
