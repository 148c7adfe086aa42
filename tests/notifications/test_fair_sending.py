"""One bad address holds up nobody: neither new mails behind retries, nor retries behind new mails."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from services.notifications import deliveries, delivery_worker
from services.notifications import smtp as smtp_module
from services.notifications.channels import MAX_CONCURRENT_RETRIES, MAX_CONCURRENT_SENDS, Send
from services.notifications.models import Delivery, Recipient
from services.notifications.recipients import replace_recipients
from shared.database import Sessions
from shared.events.users import Contact
from shared.ids import new_id
from shared.loops import connect_loops
from shared.sealed_contacts import OpenedContact
from tests.harness.running import running
from tests.harness.waiting import until
from tests.notifications.attempts import HeldSends, WorkerOf, mail_statuses, users
from tests.notifications.events import apply, order_confirmed, user_created
from tests.notifications.smtp_server import SmtpServer


@pytest.fixture
def never_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a delivery whose wake-up is missing wait for longer than the test."""
    monkeypatch.setattr(delivery_worker, "POLL_INTERVAL_SECONDS", 600)


@pytest.fixture
def attempts_never_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an attempt that the mail server does not answer last longer than the test."""
    monkeypatch.setattr(smtp_module, "COMMAND_TIMEOUT_SECONDS", 600)
    monkeypatch.setattr(deliveries, "LEASE", timedelta(minutes=10))


async def make_retries(sessions: Sessions) -> None:
    """Make every mail a retry that has been due for a minute."""
    due_at = sa.func.now() - timedelta(minutes=1)
    async with sessions.begin() as session:
        changes = {"status": "retrying", "attempts": 1, "next_attempt_at": due_at, "last_error": "unreachable"}
        await session.execute(sa.update(Delivery).where(Delivery.channel == "email").values(changes))


async def sent_count(sessions: Sessions) -> int:
    return (await mail_statuses(sessions)).count("sent")


async def test_a_heap_of_retries_does_not_hold_up_new_mails(sessions: Sessions, worker_of: WorkerOf) -> None:
    held, user_id = HeldSends(), new_id()
    await users(sessions, 5 * MAX_CONCURRENT_SENDS)
    await make_retries(sessions)
    async with running(worker_of(held.send)):
        await held.until_begun(MAX_CONCURRENT_RETRIES)
        await apply(sessions, user_created(user_id))
        await held.until_begun(MAX_CONCURRENT_RETRIES + 1)
        begun = [attempt.user_id for attempt in held.begun]
        held.may_end.set()

    assert begun[-1] == user_id
    assert len(begun) == MAX_CONCURRENT_RETRIES + 1


async def test_a_heap_of_new_mails_does_not_hold_up_a_retry(sessions: Sessions, worker_of: WorkerOf) -> None:
    held = HeldSends()
    await users(sessions, 1)
    await make_retries(sessions)
    await users(sessions, 5 * MAX_CONCURRENT_SENDS)
    async with sessions.begin() as session:
        # Due later than all new mails.
        is_retry = Delivery.status == "retrying"
        await session.execute(sa.update(Delivery).where(is_retry).values(next_attempt_at=sa.func.now()))
    async with running(worker_of(held.send)):
        await held.until_begun(MAX_CONCURRENT_SENDS)
        numbers = [attempt.number for attempt in held.begun]
        held.may_end.set()

    assert sorted(numbers) == [*[1] * (MAX_CONCURRENT_SENDS - 1), 2]


async def test_new_mails_of_the_process_queue_behind_those_that_wait(sessions: Sessions, worker_of: WorkerOf) -> None:
    held, user_id = HeldSends(), new_id()
    await apply(sessions, user_created(user_id))
    worker = worker_of(held.send)
    worker.wake()
    connect_loops(sessions, [worker], notify=lambda _: None)

    await apply(sessions, order_confirmed(user_id))

    assert (held.begun, await mail_statuses(sessions)) == ([], ["queued", "queued"])


@pytest.mark.usefixtures("never_polls")
async def test_all_retries_are_made_although_few_are_made_at_once(
    sessions: Sessions, worker_of: WorkerOf, send: Send
) -> None:
    count = 5 * MAX_CONCURRENT_SENDS
    await users(sessions, count)
    await make_retries(sessions)

    async def all_are_sent() -> bool:
        return await sent_count(sessions) == count

    async with running(worker_of(send)):
        await until(all_are_sent, what="all retries are made")


@pytest.mark.usefixtures("attempts_never_time_out")
async def test_a_server_that_hangs_for_some_recipients_does_not_hold_up_the_others(
    sessions: Sessions, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer
) -> None:
    smtp_server.hangs_for = {f"user-{number}@example.org" for number in range(3 * MAX_CONCURRENT_SENDS)}
    await users(sessions, len(smtp_server.hangs_for))
    await make_retries(sessions)
    worker = worker_of(send)
    async with running(worker):
        await apply(sessions, *(user_created(new_id(), email=f"other-{number}@example.org") for number in range(20)))

        async def others_are_sent() -> bool:
            return await sent_count(sessions) == 20

        await until(others_are_sent, what="the other mails are sent")
        for task in worker._sending:
            task.cancel()


async def test_an_address_that_is_rejected_again_and_again_holds_up_nobody(
    sessions: Sessions, worker_of: WorkerOf, send: Send, smtp_server: SmtpServer
) -> None:
    smtp_server.replies_for["user-0@example.org"] = "451 Greylisted"
    await users(sessions, MAX_CONCURRENT_SENDS)

    async def has_settled() -> bool:
        return sorted(await mail_statuses(sessions)) == ["retrying", *["sent"] * (MAX_CONCURRENT_SENDS - 1)]

    async with running(worker_of(send)):
        await until(has_settled, what="the other mails are sent, and one is retried")
        del smtp_server.replies_for["user-0@example.org"]

        async def is_sent() -> bool:
            return await sent_count(sessions) == MAX_CONCURRENT_SENDS

        await until(is_sent, what="the retry is sent")
    assert smtp_server.connections <= MAX_CONCURRENT_SENDS


@pytest.mark.usefixtures("never_polls")
async def test_mails_to_recipients_that_have_gone_wait_for_them_and_hold_up_nobody(
    sessions: Sessions, worker_of: WorkerOf, send: Send
) -> None:
    gone = [new_id() for _ in range(2 * MAX_CONCURRENT_SENDS)]
    await apply(sessions, *(user_created(user_id) for user_id in gone))
    await make_retries(sessions)
    await users(sessions, 1)
    async with sessions.begin() as session:
        await session.execute(sa.delete(Recipient).where(Recipient.user_id.in_(gone)))

    async def has_settled() -> bool:
        return sorted(await mail_statuses(sessions)) == [*["deferred"] * len(gone), "sent"]

    async def all_are_sent() -> bool:
        return await sent_count(sessions) == len(gone) + 1

    worker = worker_of(send)
    async with running(worker):
        await until(has_settled, what="the others wait for their recipients")
        connect_loops(sessions, [worker], notify=lambda _: None)
        async with sessions.begin() as session:
            data = OpenedContact(
                Contact(email="ann@example.org", name="Ann", phone=None), "en", "UTC", True, sequence=1
            )
            await replace_recipients(session, dict.fromkeys(gone, data))
        await until(all_are_sent, what="they are sent once their recipients are known")
