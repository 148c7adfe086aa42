"""A process that sends mails is killed at every failpoint of deliveries and restarted, and every mail is sent."""

import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa
from aiokafka import AIOKafkaProducer

from services.notifications.channels import MAX_CONCURRENT_SENDS
from services.notifications.recipients import replace_recipients
from shared.database import Database, open_database
from shared.events.users import Contact, PasswordChanged, UserCreated
from shared.ids import new_id
from shared.messaging.failpoints import NAMES
from shared.messaging.kafka import KafkaConnection
from shared.messaging.topics import create_topics
from shared.sealed_contacts import OpenedContact
from tests.chaos import mail_worker
from tests.chaos.consumer_group import remove_members
from tests.chaos.forked_process import ForkedProcess
from tests.chaos.mail_worker import MailPlan
from tests.harness.builders import received, record_of
from tests.harness.databases import DatabaseFactory
from tests.harness.rows import Rows
from tests.harness.waiting import until
from tests.notifications.events import apply, user_created
from tests.notifications.smtp_server import SmtpServer

DELIVERY_FAILPOINTS = [name for name in NAMES if name.startswith("delivery.")]
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
    async with SmtpServer() as server:
        yield server


@pytest.fixture
def plan(database: Database, smtp_server: SmtpServer, tmp_path: Path) -> MailPlan:
    url = database.engine.url.render_as_string(hide_password=False)
    return MailPlan(database_url=url, smtp_url=smtp_server.url, folder=tmp_path)


def welcomed(number: int) -> UserCreated:
    """Return the event that causes a person's welcome mail."""
    return user_created(new_id(), email=f"person-{number}@example.org")


async def known_people(database: Database) -> list[UUID]:
    """Make recipients, and return their ids."""
    contacts = {
        new_id(): OpenedContact(
            Contact(email=f"person-{number}@example.org", name="Ann", phone=None), "en", "UTC", True, sequence=1
        )
        for number in range(PEOPLE)
    }
    async with database.sessions.begin() as session:
        await replace_recipients(session, contacts)
    return list(contacts)


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


async def sending_again(database: Database, admin_url: str) -> list[str]:
    """Let another process take over the mails of a killed one; return the message ids that it had recorded."""
    await until_no_connection_is_left(database, admin_url)
    recorded = await Rows(database.sessions).of(
        "SELECT provider_message_id FROM delivery WHERE channel = 'email' AND status = 'sent'"
    )
    async with database.sessions.begin() as session:
        await session.execute(sa.text(EXPIRE))
    return [message_id for (message_id,) in recorded]


async def assert_all_are_sent(
    plan: MailPlan, database: Database, smtp_server: SmtpServer, *, recorded: Sequence[str]
) -> None:
    """Let a successor send the mails of all people: each has one message id, and recorded ones are not repeated."""
    rows = Rows(database.sessions)

    async def all_sent() -> bool:
        return await rows.of("SELECT count(*) FROM delivery WHERE status = 'sent'") == [(2 * PEOPLE,)]

    successor = ForkedProcess(mail_worker.main, plan)
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
    assert [times[message_id] for message_id in recorded] == [1] * len(recorded)
    announced = await rows.of("SELECT count(*) FROM outbox WHERE type = 'notification.sent'")
    assert announced == [(2 * PEOPLE,)]


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("name", DELIVERY_FAILPOINTS)
async def test_every_mail_has_one_message_id_after_a_kill_at_any_failpoint(
    plan: MailPlan, database: Database, postgres_admin_url: str, smtp_server: SmtpServer, name: str, nth: int
) -> None:
    await apply(database.sessions, *(welcomed(number) for number in range(PEOPLE)))
    killed = ForkedProcess(mail_worker.main, replace(plan, failpoints=f"{name}=kill@{nth}"))
    assert await killed.exits_within(60), f"{name} was not passed {nth} times"
    assert killed.exit_status == -signal.SIGKILL
    recorded = await sending_again(database, postgres_admin_url)
    await assert_all_are_sent(plan, database, smtp_server, recorded=recorded)


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("name", DELIVERY_FAILPOINTS)
async def test_every_mail_is_sent_after_a_kill_of_the_process_that_consumes_and_sends(
    plan: MailPlan,
    database: Database,
    postgres_admin_url: str,
    smtp_server: SmtpServer,
    kafka_bootstrap_servers: str,
    topic_prefix: str,
    name: str,
    nth: int,
) -> None:
    await create_topics(KafkaConnection(kafka_bootstrap_servers, topic_prefix))
    people = await known_people(database)
    consuming = replace(plan, kafka=kafka_bootstrap_servers, topic_prefix=topic_prefix)
    killed = ForkedProcess(mail_worker.main, replace(consuming, failpoints=f"{name}=kill@{nth}"))
    async with AIOKafkaProducer(bootstrap_servers=kafka_bootstrap_servers) as producer:
        for number, user_id in enumerate(people):
            event = record_of(received(PasswordChanged(user_id=user_id), sequence=2))
            await producer.send_and_wait(
                f"{topic_prefix}users", key=event.key, value=event.value, headers=list(event.headers)
            )

            async def is_sent_or_killed(mails: int = number + 1) -> bool:
                return len(smtp_server.mails) >= mails or not killed.is_alive

            # One by one: with a free slot, each mail begins within the consumer's commit.
            await until(is_sent_or_killed, what="the mail is sent, or the process killed")
    assert await killed.exits_within(60), f"{name} was not passed {nth} times"
    assert killed.exit_status == -signal.SIGKILL
    await remove_members(kafka_bootstrap_servers, topic_prefix + mail_worker.CONSUMER)
    recorded = await sending_again(database, postgres_admin_url)
    await assert_all_are_sent(consuming, database, smtp_server, recorded=recorded)
