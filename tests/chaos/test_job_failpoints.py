"""The exhaustive list, second part: the process that sends mails is killed at every place, and starts again."""

import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa

from shared.database import Database, open_database
from shared.ids import new_id
from shared.messaging.failpoints import NAMES
from tests.chaos import mailer
from tests.chaos.mailer import MailPlan
from tests.chaos.nursery import Forked
from tests.harness.databases import DatabaseFactory
from tests.harness.rows import Rows
from tests.harness.waiting import until
from tests.notifications.events import apply, user_created
from tests.notifications.postbox import Postbox

OF_JOBS = [name for name in NAMES if name.startswith("job.")]
PEOPLE = 6
# A dead process's jobs and tries are given to another after half a minute: it is made to have gone by.
LATER = (
    "UPDATE pgqueuer SET heartbeat = heartbeat - interval '1 hour' WHERE status = 'picked'",
    "UPDATE delivery SET next_attempt_at = now() WHERE status = 'sending'",
)


@pytest.fixture
async def database(database_factory: DatabaseFactory) -> AsyncIterator[Database]:
    opened = open_database(await database_factory("notifications"), service="notifications", pool_size=2)
    yield opened
    await opened.close()


@pytest.fixture
async def postbox() -> AsyncIterator[Postbox]:
    box = Postbox()
    await box.open()
    yield box
    await box.close()


async def until_nobody_is_connected(database: Database, admin_url: str) -> None:
    """Wait for the back ends of a killed process: they still finish, and may commit, what it sent last."""
    await database.engine.dispose()
    admin = await asyncpg.connect(admin_url)

    async def nobody() -> bool:
        query = "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'"
        return bool(await admin.fetchval(query, database.engine.url.database))

    try:
        await until(nobody, what="the end of the last connection")
    finally:
        await admin.close()


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("name", OF_JOBS)
async def test_a_mailer_killed_there_and_restarted_sends_every_mail_under_one_message_id(
    database: Database, postgres_admin_url: str, postbox: Postbox, tmp_path: Path, name: str, nth: int
) -> None:
    await apply(
        database.sessions, *(user_created(new_id(), email=f"person-{number}@example.org") for number in range(PEOPLE))
    )
    url = database.engine.url.render_as_string(hide_password=False)
    doomed = Forked(
        mailer.main,
        MailPlan(database_url=url, smtp_url=postbox.url, folder=tmp_path, failpoints=f"{name}=kill@{nth}"),
    )
    assert await doomed.ended(within_seconds=60), f"{name} was not passed {nth} times"
    assert doomed.exit_status == -signal.SIGKILL
    await until_nobody_is_connected(database, postgres_admin_url)
    rows = Rows(database.sessions)
    noted = await rows.of("SELECT provider_message_id FROM delivery WHERE channel = 'email' AND status = 'sent'")
    async with database.sessions.begin() as session:
        for statement in LATER:
            await session.execute(sa.text(statement))
    successor = Forked(mailer.main, MailPlan(database_url=url, smtp_url=postbox.url, folder=tmp_path))

    async def all_sent() -> bool:
        return await rows.of("SELECT count(*) FROM delivery WHERE status <> 'sent'") == [(0,)]

    try:
        await until(all_sent, what="every mail was sent")
    finally:
        await successor.stop()
    message_ids: dict[str, list[str]] = {}
    for mail in postbox.mails:
        message_ids.setdefault(mail["To"].addresses[0].addr_spec, []).append(mail["Message-ID"])
    assert [len(set(ids)) for ids in message_ids.values()] == [1] * PEOPLE
    # A kill between the sending and its note costs a second sending of what was on its way. What was noted is done.
    times = Counter(message_id for ids in message_ids.values() for message_id in ids)
    assert max(times.values()) <= 2
    assert [times[message_id] for (message_id,) in noted] == [1] * len(noted)
    told = await rows.of("SELECT count(*) FROM outbox WHERE type = 'notification.sent'")
    assert told == [(2 * PEOPLE,)]
