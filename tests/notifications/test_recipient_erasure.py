"""A recipient is erased after a last mail; mails that cannot be sent are dropped after a time."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
import sqlalchemy as sa
from structlog.testing import capture_logs

from services.notifications.channels import Send
from services.notifications.jobs import notification_jobs
from services.notifications.recipient_erasure import erase_recipient
from shared.connection_urls import dsn_of
from shared.database import Sessions
from shared.events.users import EmailVerificationRequested, UserErasureRequested, UserUpdated
from shared.ids import new_id
from shared.jobs import Jobs
from tests.harness.personal_keys import StoredKeys, profile_event, sealed_mail
from tests.harness.remaining_data import tables_with
from tests.harness.rows import Rows
from tests.harness.running import running
from tests.harness.waiting import until
from tests.notifications.attempts import WorkerOf
from tests.notifications.events import apply, order_confirmed, user_created
from tests.notifications.smtp_server import SmtpServer

EMAIL, NAME = "marked@example.org", "Marked Lovelace"
WAIT = timedelta(hours=1)


def jobs_of(keys: StoredKeys) -> Jobs:
    return notification_jobs(retention=timedelta(days=90), keys=keys.personal_keys(), erasure_wait=WAIT)


async def known_recipient(sessions: Sessions) -> UUID:
    user_id = new_id()
    await apply(sessions, user_created(user_id, email=EMAIL, name=NAME))
    return user_id


async def request(sessions: Sessions, user_id: UUID, *, sequence: int = 2) -> UserErasureRequested:
    event = UserErasureRequested(user_id=user_id, request_id=new_id())
    await apply(sessions, event, sequence=sequence, opened=False)
    return event


async def try_to_erase(sessions: Sessions, user_id: UUID, *, max_wait: timedelta = WAIT) -> str:
    async with sessions.begin() as session:
        return await erase_recipient(session, user_id, max_wait=max_wait)


async def recorded(sessions: Sessions, *types: str) -> list[dict[str, object]]:
    """Return the data of the recorded events of these types, in order."""
    rows = await Rows(sessions).of("SELECT type, payload FROM outbox ORDER BY id")
    return [orjson.loads(payload) for type_, payload in rows if type_ in types]


async def test_the_last_mail_is_sent_and_then_nothing_of_the_recipient_is_left(
    database_url: str, sessions: Sessions, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer, keys: StoredKeys
) -> None:
    user_id = await known_recipient(sessions)
    await apply(sessions, order_confirmed(user_id))
    event = await request(sessions, user_id)
    assert await try_to_erase(sessions, user_id) == "waits"

    async def are_sent() -> bool:
        return await Rows(sessions).of("SELECT id FROM delivery WHERE status <> 'sent'") == []

    async with running(worker_of(send)):
        await until(are_sent, what="all mails are sent")
    task = jobs_of(keys)._tasks["erase_recipient"].task
    with capture_logs() as logs:
        await task(sessions, str(user_id).encode())

    (last,) = [mail for mail in smtp_server.mails if mail["Subject"] == "Your account is being erased"]
    link = f"http://127.0.0.1:8080/account/erasures/{event.request_id}"
    for kind in ("plain", "html"):
        body = last.get_body((kind,))
        assert body is not None
        assert link in body.get_content()
    rows = Rows(sessions)
    assert [await rows.count(table) for table in ("recipient", "notification", "delivery")] == [0, 0, 0]
    assert await tables_with(dsn_of(database_url), (EMAIL, NAME)) == {}
    answer = {"user_id": str(user_id), "request_id": str(event.request_id)}
    assert await recorded(sessions, "notification.recipient_erased") == [answer]
    assert {"event": "recipient_erased", "log_level": "info", "user_id": str(user_id)} in logs


async def test_mails_that_wait_too_long_are_dropped(sessions: Sessions) -> None:
    user_id = await known_recipient(sessions)
    await request(sessions, user_id)
    async with sessions.begin() as session:
        await session.execute(sa.text("UPDATE erased_user SET requested_at = requested_at - interval '59 minutes'"))
    assert await try_to_erase(sessions, user_id) == "waits"
    async with sessions.begin() as session:
        await session.execute(sa.text("UPDATE erased_user SET requested_at = requested_at - interval '1 minute'"))

    assert await try_to_erase(sessions, user_id) == "erased"

    failed = await recorded(sessions, "notification.failed")
    assert [(each["user_id"], each["channel"], each["reason"]) for each in failed] == [
        (str(user_id), "email", "recipient_erased")
    ] * 2
    delays = await Rows(sessions).of("""
        SELECT round(extract(epoch FROM execute_after - created)) FROM pgqueuer WHERE entrypoint = 'erase_recipient'
        ORDER BY id
    """)
    assert delays == [(5,), (60,)]


async def test_a_repeated_request_sends_no_second_mail_and_is_answered_again(sessions: Sessions) -> None:
    user_id = await known_recipient(sessions)
    await request(sessions, user_id)
    second = await request(sessions, user_id, sequence=3)
    titles = "SELECT count(*) FROM notification WHERE event_type = 'user.erasure_requested'"
    assert await Rows(sessions).of(titles) == [(1,)]

    assert await try_to_erase(sessions, user_id, max_wait=timedelta(0)) == "erased"
    third = await request(sessions, user_id, sequence=4)
    assert await try_to_erase(sessions, user_id) == "erased"

    answered = [each["request_id"] for each in await recorded(sessions, "notification.recipient_erased")]
    assert answered == [str(second.request_id), str(third.request_id)]
    assert await Rows(sessions).count("notification") == 0


async def test_late_events_about_an_erased_user_notify_nobody_and_store_nothing(sessions: Sessions) -> None:
    user_id = await known_recipient(sessions)
    await request(sessions, user_id)
    await try_to_erase(sessions, user_id, max_wait=timedelta(0))
    mail = EmailVerificationRequested(
        user_id=user_id,
        personal=sealed_mail(user_id, email=EMAIL, token="t"),
        locale="en",
        expires_at=datetime.now(UTC),
    )

    await apply(sessions, profile_event(UserUpdated, user_id, email=EMAIL), mail, sequence=3)
    await apply(sessions, order_confirmed(user_id))

    rows = Rows(sessions)
    counts = [await rows.count(table) for table in ("recipient", "notification", "sealed_contact", "dead_letter")]
    assert counts == [0, 0, 0, 0]


async def test_a_notification_that_a_concurrent_event_has_stored_is_deleted_later(
    sessions: Sessions, keys: StoredKeys
) -> None:
    user_id, other = await known_recipient(sessions), new_id()
    await request(sessions, user_id)
    await try_to_erase(sessions, user_id, max_wait=timedelta(0))
    await apply(sessions, user_created(other, email="ben@example.org"))
    async with sessions.begin() as session:
        await session.execute(
            sa.text("""
                INSERT INTO notification (id, user_id, event_id, event_type, category, title, data)
                VALUES (uuidv7(), :user_id, uuidv7(), 'order.shipped', 'orders', 'late', '{}')
            """),
            {"user_id": user_id},
        )

    _, sweep = jobs_of(keys)._scheduled["delete_notifications_of_erased_users"]
    await sweep(sessions)

    assert await Rows(sessions).of("SELECT user_id FROM notification") == [(other,)]


async def test_an_unverified_recipient_gets_no_mail_and_is_erased_at_once(sessions: Sessions) -> None:
    user_id = new_id()
    await apply(sessions, user_created(user_id, email=EMAIL, email_verified=False))
    await request(sessions, user_id)

    assert await try_to_erase(sessions, user_id) == "erased"
    assert await try_to_erase(sessions, new_id()) == "not_requested"
