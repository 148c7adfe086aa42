"""New mails begin in the slots of their process's worker: as many as it has, and only if their transaction commits."""

import asyncio
from datetime import timedelta

import pytest
import sqlalchemy as sa

from services.notifications.channels import MAX_CONCURRENT_SENDS
from services.notifications.commands import notify_all
from services.notifications.models import Delivery
from shared.database import Sessions
from shared.ids import new_id
from shared.loops import connect_loops
from shared.transient_errors import is_transient
from tests.harness.database_outages import cut_connections
from tests.harness.running import running
from tests.notifications.attempts import HeldSends, WorkerOf, mail_statuses, users
from tests.notifications.events import apply, notice_of, order_confirmed, user_created


async def test_the_worker_of_the_process_begins_with_new_mails_without_a_claim(
    sessions: Sessions, worker_of: WorkerOf
) -> None:
    held, user_id = HeldSends(), new_id()
    await apply(sessions, user_created(user_id))
    # It does not run, so it claims nothing.
    worker = worker_of(held.send)
    connect_loops(sessions, [worker], notify=lambda _: None)

    orders = [order_confirmed(user_id, number=f"O-{number}") for number in range(MAX_CONCURRENT_SENDS + 1)]
    await asyncio.gather(*(apply(sessions, order) for order in orders))

    await held.until_begun(MAX_CONCURRENT_SENDS)
    assert sorted(await mail_statuses(sessions)) == ["queued"] * 2 + ["sending"] * MAX_CONCURRENT_SENDS
    assert {(attempt.email, attempt.number) for attempt in held.begun} == {("ann@example.org", 1)}
    held.may_end.set()
    worker.stop()
    await worker.run()
    assert sorted(await mail_statuses(sessions)) == ["queued"] * 2 + ["sent"] * MAX_CONCURRENT_SENDS


async def test_a_claim_and_a_new_mail_do_not_take_the_same_slot(sessions: Sessions, worker_of: WorkerOf) -> None:
    held, user_id = HeldSends(), new_id()
    await apply(sessions, user_created(user_id))
    await users(sessions, MAX_CONCURRENT_SENDS)
    worker = worker_of(held.send)
    worker.wake()
    connect_loops(sessions, [worker], notify=lambda _: None)

    await asyncio.gather(worker._record_and_claim(), apply(sessions, order_confirmed(user_id)))

    await held.until_begun(MAX_CONCURRENT_SENDS)
    assert (len(held.begun), worker._free_slots(), worker._reserved_slots) == (MAX_CONCURRENT_SENDS, 0, 0)
    assert (await mail_statuses(sessions)).count("queued") == 2
    held.may_end.set()
    worker.stop()
    await worker.run()


async def test_a_retry_is_made_in_time_although_new_mails_keep_coming(sessions: Sessions, worker_of: WorkerOf) -> None:
    held, user_id = HeldSends(), new_id()
    held.may_end.set()
    await apply(sessions, user_created(user_id))
    async with sessions.begin() as session:
        changes = {"status": "retrying", "attempts": 1, "next_attempt_at": sa.func.now() + timedelta(seconds=1)}
        await session.execute(sa.update(Delivery).where(Delivery.channel == "email").values(changes))
    worker = worker_of(held.send)
    connect_loops(sessions, [worker], notify=lambda _: None)
    async with running(worker), asyncio.timeout(60):
        while not any(attempt.number == 2 for attempt in held.begun):
            begun = len(held.begun)
            await apply(sessions, order_confirmed(user_id))
            await held.until_begun(begun + 1)


async def test_a_rolled_back_savepoint_begins_no_mail(sessions: Sessions, worker_of: WorkerOf) -> None:
    held, user_id = HeldSends(), new_id()
    await apply(sessions, user_created(user_id))
    worker = worker_of(held.send)
    connect_loops(sessions, [worker], notify=lambda _: None)
    kept = notice_of(order_confirmed(user_id))
    async with sessions.begin() as session:
        await notify_all(session, [kept])
        async with session.begin_nested() as savepoint:
            await notify_all(session, [notice_of(order_confirmed(user_id))])
            await savepoint.rollback()
    await held.until_begun(1)
    assert ([attempt.event_id for attempt in held.begun], worker._reserved_slots) == ([kept.cause.event_id], 0)
    held.may_end.set()
    worker.stop()
    await worker.run()


async def test_a_rolled_back_transaction_begins_no_mail(sessions: Sessions, worker_of: WorkerOf) -> None:
    held, user_id = HeldSends(), new_id()
    await apply(sessions, user_created(user_id))
    worker = worker_of(held.send)
    connect_loops(sessions, [worker], notify=lambda _: None)
    with pytest.raises(RuntimeError):
        async with sessions.begin() as session:
            await notify_all(session, [notice_of(order_confirmed(user_id))] * MAX_CONCURRENT_SENDS)
            raise RuntimeError
    await apply(sessions, order_confirmed(user_id))
    await held.until_begun(1)
    worker.stop()
    await apply(sessions, order_confirmed(user_id))
    assert sorted(await mail_statuses(sessions)) == ["queued", "queued", "sending"]
    assert len(held.begun) == 1
    held.may_end.set()
    await worker.run()


async def test_a_connection_that_dies_under_a_transaction_keeps_no_slot(
    sessions: Sessions, worker_of: WorkerOf, postgres_admin_url: str, database_url: str
) -> None:
    worker, user_id = worker_of(HeldSends().send), new_id()
    await apply(sessions, user_created(user_id))
    connect_loops(sessions, [worker], notify=lambda _: None)
    with pytest.raises(Exception) as failed:  # noqa: PT011 - the driver's or SQLAlchemy's
        async with sessions.begin() as session:
            await notify_all(session, [notice_of(order_confirmed(user_id))])
            assert worker._reserved_slots == 1
            await cut_connections(postgres_admin_url, database_url)
            await notify_all(session, [notice_of(order_confirmed(user_id))])
    assert is_transient(failed.value)
    assert worker._reserved_slots == 0
