"""Contacts are stored sealed by the consumer, and opened by a job once their keys can be read."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from services.notifications.jobs import notification_jobs
from services.notifications.recipients import replace_recipients
from shared.connection_urls import dsn_of
from shared.database import Sessions
from shared.events.users import UserUpdated
from shared.ids import new_id
from shared.jobs import JobRunner
from shared.measurements import Measurements
from shared.personal_keys import PersonalKeysUnavailable
from shared.sealed_contacts import MAX_TRIES, SEALED_CONTACTS, open_contacts, open_old_contacts
from tests.harness.personal_keys import StoredKeys, profile_event
from tests.harness.rows import Rows
from tests.harness.waiting import until
from tests.notifications.events import apply, open_all, order_confirmed, user_created

RECIPIENTS = "SELECT email, name, email_verified FROM recipient ORDER BY email"
MAILS = "SELECT status, last_error FROM delivery WHERE channel = 'email' ORDER BY id"
WAITING = "SELECT user_id, sequence FROM sealed_contact ORDER BY user_id"


async def jobs_in(sessions: Sessions) -> list[tuple[Any, ...]]:
    return await Rows(sessions).of("SELECT entrypoint, status::text FROM pgqueuer ORDER BY id")


async def sweep(sessions: Sessions, keys: StoredKeys) -> None:
    await open_old_contacts(sessions, keys=keys.personal_keys(), replace=replace_recipients, min_age=timedelta(0))


async def test_a_contact_is_stored_sealed_until_a_job_opens_it(
    database_url: str, sessions: Sessions, keys: StoredKeys
) -> None:
    event = user_created(new_id(), email="ann@example.org")
    await apply(sessions, event, opened=False)

    rows = Rows(sessions)
    assert await rows.of("SELECT user_id, personal FROM sealed_contact") == [(event.user_id, event.personal)]
    assert await rows.of(RECIPIENTS) == []
    assert await rows.of(MAILS) == [("deferred", None)]
    assert await jobs_in(sessions) == [("open_contacts", "queued")]

    jobs = notification_jobs(retention=timedelta(days=90), keys=keys.personal_keys())
    runner = JobRunner(jobs, dsn=dsn_of(database_url), sessions=sessions)
    running = asyncio.create_task(runner.run())

    async def is_done() -> bool:
        return await rows.of(MAILS) == [("queued", None)] and await jobs_in(sessions) == []

    await until(is_done, what="the job has ended")
    runner.stop()
    await running
    assert await rows.of(RECIPIENTS) == [("ann@example.org", "Ann", True)]
    assert await rows.of(WAITING) == []


async def test_a_contact_waits_while_the_users_service_is_away_and_no_job_is_held(
    sessions: Sessions, keys: StoredKeys
) -> None:
    event = user_created(new_id())
    await apply(sessions, event, opened=False)
    keys.away = True
    jobs = notification_jobs(retention=timedelta(days=90), keys=keys.personal_keys())
    task = jobs._tasks["open_contacts"].task

    for tries in range(MAX_TRIES):
        payload = await latest_payload(sessions)
        await task(sessions, payload)
        delays = await Rows(sessions).of("SELECT extract(epoch FROM execute_after - created)::int FROM pgqueuer")
        assert [round(delay) for (delay,) in delays] == [0, 2, 4, 8, 16][: tries + 2]
    await sweep(sessions, keys)
    assert await Rows(sessions).of(WAITING) == [(event.user_id, 1)]

    keys.away = False
    await sweep(sessions, keys)
    assert await Rows(sessions).of(WAITING) == []
    assert len(await Rows(sessions).of(RECIPIENTS)) == 1


async def latest_payload(sessions: Sessions) -> bytes:
    (row,) = await Rows(sessions).of("SELECT payload FROM pgqueuer ORDER BY id DESC LIMIT 1")
    payload: bytes = row[0]
    return payload


async def test_opening_tells_its_caller_that_the_users_service_is_away(sessions: Sessions, keys: StoredKeys) -> None:
    event = user_created(new_id())
    await apply(sessions, event, opened=False)
    keys.away = True

    with pytest.raises(PersonalKeysUnavailable):
        await open_all(sessions, event, keys=keys)


async def test_the_contact_of_an_erased_user_is_dropped_and_stays_unread(sessions: Sessions, keys: StoredKeys) -> None:
    ann, ben = user_created(new_id(), email="ann@example.org"), user_created(new_id(), email="ben@example.org")
    await apply(sessions, ann, ben, opened=False)
    keys.erased.add(ann.user_id)

    await open_all(sessions, ann, ben, keys=keys)

    assert await Rows(sessions).of(WAITING) == []
    assert await Rows(sessions).of(RECIPIENTS) == [("ben@example.org", "Ann", True)]


class KeysDuring(StoredKeys):
    """Keys whose reading the second event of a user overtakes."""

    def __init__(self, sessions: Sessions, event: UserUpdated) -> None:
        super().__init__()
        self._sessions = sessions
        self._event = event

    async def read(self, user_ids: Any) -> Any:
        await apply(self._sessions, self._event, sequence=2, opened=False)
        return await super().read(user_ids)


async def test_a_contact_that_is_replaced_while_its_key_is_read_is_left_to_the_later_event(sessions: Sessions) -> None:
    user_id = new_id()
    await apply(sessions, user_created(user_id, name="Ann"), opened=False)
    later = profile_event(UserUpdated, user_id, name="Ann B")

    await open_all(sessions, later, keys=KeysDuring(sessions, later))
    assert await Rows(sessions).of(WAITING) == [(user_id, 2)]
    assert await Rows(sessions).of(RECIPIENTS) == []

    await open_all(sessions, later)
    assert await Rows(sessions).of("SELECT name, sequence FROM recipient") == [("Ann B", 2)]


async def test_a_known_recipient_keeps_its_data_until_the_new_ones_are_opened(sessions: Sessions) -> None:
    user_id = new_id()
    await apply(sessions, user_created(user_id, email="old@example.org", email_verified=False))
    changed = profile_event(UserUpdated, user_id, email="new@example.org", name="Ann", email_verified=True)
    await apply(sessions, changed, sequence=2, opened=False)

    # Else a mail could go to the old address, which was never verified.
    assert await Rows(sessions).of(RECIPIENTS) == [("old@example.org", "Ann", False)]
    await open_all(sessions, changed)
    assert await Rows(sessions).of(RECIPIENTS) == [("new@example.org", "Ann", True)]


async def test_a_contact_that_cannot_be_opened_or_stored_stays_and_holds_up_no_other(sessions: Sessions) -> None:
    people = [
        user_created(new_id(), email=f"{name}@example.org", name=name) for name in ("ann", "ben", "cleo\0", "dora")
    ]
    foreign = people[1].model_copy(update={"personal": user_created(new_id()).personal})
    await apply(sessions, people[0], foreign, *people[2:], opened=False)

    with capture_logs() as logs:
        await open_all(sessions, *people)

    assert await Rows(sessions).of("SELECT name FROM recipient ORDER BY name") == [("ann",), ("dora",)]
    assert {user_id for user_id, _ in await Rows(sessions).of(WAITING)} == {people[1].user_id, people[2].user_id}
    assert sorted((entry["event"], UUID(entry["user_id"])) for entry in logs if "user_id" in entry) == [
        ("contact_not_stored", people[2].user_id),
        ("contact_unreadable", people[1].user_id),
    ]
    assert "cleo" not in str(logs)


async def test_two_jobs_for_the_same_contacts_open_each_once(sessions: Sessions, keys: StoredKeys) -> None:
    people = [user_created(new_id(), email=f"{n}@example.org") for n in range(30)]
    await apply(sessions, *people, opened=False)

    opened = await asyncio.gather(
        *(
            open_contacts(
                sessions,
                [one.user_id for one in people[::step]],
                keys=keys.personal_keys(),
                replace=replace_recipients,
            )
            for step in (1, -1)
        )
    )

    assert sum(opened) == len(people)
    assert await Rows(sessions).of("SELECT count(*) FROM recipient") == [(len(people),)]


async def test_mails_wait_until_the_address_is_verified(sessions: Sessions) -> None:
    user_id = new_id()

    await apply(sessions, user_created(user_id, locale="de", email_verified=False))
    await apply(sessions, order_confirmed(user_id))
    rows = Rows(sessions)
    assert await rows.of(MAILS) == [("deferred", "address_unverified")] * 2
    assert await rows.of("SELECT DISTINCT status FROM delivery WHERE channel = 'in_app'") == [("sent",)]
    titles = [("Bestellung O-1042 ist bestätigt",), ("Willkommen bei Orderly",)]
    assert await rows.of("SELECT title FROM notification ORDER BY title") == titles

    await apply(sessions, profile_event(UserUpdated, user_id, locale="de", email_verified=True), sequence=2)
    assert await rows.of(MAILS) == [("queued", None)] * 2


async def test_a_mail_that_is_due_waits_again_if_its_address_is_not_verified_any_more(
    sessions: Sessions, worker_of: Any, send: Any
) -> None:
    user_id = new_id()
    await apply(sessions, user_created(user_id))
    await apply(
        sessions, profile_event(UserUpdated, user_id, email="new@example.org", email_verified=False), sequence=2
    )
    worker = worker_of(send)
    worker._may_be_due = True

    await worker._record_and_claim()

    assert await Rows(sessions).of(MAILS) == [("deferred", "address_unverified")]


async def test_the_waiting_contacts_are_measured(sessions: Sessions) -> None:
    measurements = Measurements([SEALED_CONTACTS], sessions=sessions)
    await measurements.measure()
    assert REGISTRY.get_sample_value("sealed_contacts_oldest_seconds") == 0
    event = user_created(new_id())
    await apply(sessions, event, opened=False)
    async with sessions.begin() as session:
        await session.execute(sa.text("UPDATE sealed_contact SET received_at = now() - interval '90 s'"))

    await measurements.measure()

    assert REGISTRY.get_sample_value("sealed_contacts") == 1
    assert 90 <= (REGISTRY.get_sample_value("sealed_contacts_oldest_seconds") or 0) < 180
