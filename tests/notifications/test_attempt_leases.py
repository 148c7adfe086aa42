"""An attempt ends before its lease does, whatever its channel does; a later outcome confuses nothing."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
import sqlalchemy as sa

from services.notifications.channels import Attempt
from services.notifications.deliveries import LEASE, LEASE_MARGIN
from services.notifications.delivery_worker import DeliveryWorker
from services.notifications.models import Delivery
from services.notifications.retries import RetryPolicy
from shared.database import Sessions
from shared.ids import new_id
from shared.loops import connect_loops
from tests.harness.databases import execute_as_owner, until_waiting
from tests.harness.held_commits import LOCK, commit_waits_for_lock
from tests.notifications.attempts import (
    HeldSends,
    WorkerOf,
    attempt_once,
    claim_one,
    mail_events,
    make_due,
    seconds_until_due,
    state_of,
    users,
)
from tests.notifications.events import apply, order_confirmed, user_created


async def make_and_record(worker: DeliveryWorker, attempts: Sequence[Attempt]) -> None:
    worker.begin(attempts)
    await asyncio.gather(*worker._sending)
    await worker._record_and_claim()


@pytest.mark.parametrize("seconds_left", [0.1, -1])
async def test_an_attempt_is_cancelled_at_its_deadline(
    sessions: Sessions, worker_of: WorkerOf, seconds_left: float
) -> None:
    held = HeldSends()
    await users(sessions, 1)
    async with sessions.begin() as session:
        [claimed] = (await claim_one(session)).attempts

    await make_and_record(worker_of(held.send), [replace(claimed, deadline=time.monotonic() + seconds_left)])

    # An attempt whose time is over, since its process was suspended or its commit took long, does not begin.
    assert len(held.begun) == int(seconds_left > 0)
    assert await state_of(sessions) == ("retrying", 1, "timed_out")


async def test_the_deadline_of_a_claimed_attempt_is_before_the_end_of_its_lease(sessions: Sessions) -> None:
    await users(sessions, 1)
    async with sessions.begin() as session:
        [claimed] = (await claim_one(session)).attempts

    lease_left = await seconds_until_due(sessions)
    assert lease_left is not None
    assert 0 < claimed.deadline - time.monotonic() < lease_left <= LEASE.total_seconds()


async def test_the_time_that_a_commit_takes_is_part_of_the_lease(sessions: Sessions, worker_of: WorkerOf) -> None:
    held, user_id = HeldSends(), new_id()
    await apply(sessions, user_created(user_id))
    async with sessions.begin() as session:
        await session.execute(sa.update(Delivery).values(status="sent", sent_at=sa.func.now(), next_attempt_at=None))
    worker = worker_of(held.send)
    connect_loops(sessions, [worker], notify=lambda _: None)
    await execute_as_owner(sessions, *commit_waits_for_lock("notification"))
    async with sessions.begin() as other:
        await other.execute(sa.text(LOCK))
        applying = asyncio.create_task(apply(sessions, order_confirmed(user_id)))
        await until_waiting(sessions, transactions=1)
        committing_at = time.monotonic()
    await applying
    await held.until_begun(1)

    async with sessions() as session:
        due_in = sa.type_coerce(Delivery.next_attempt_at - sa.func.clock_timestamp(), sa.Interval)
        lease_left = await session.scalar(sa.select(due_in).where(Delivery.status == "sending"))
    assert lease_left is not None
    deadline = held.begun[0].deadline
    assert deadline < time.monotonic() + lease_left.total_seconds()
    assert deadline <= committing_at + (LEASE - LEASE_MARGIN).total_seconds()
    held.may_end.set()
    worker.stop()
    await worker.run()


async def test_an_attempt_that_kills_its_process_is_made_ever_more_rarely(sessions: Sessions) -> None:
    await users(sessions, 1)
    leases = []
    for _ in range(9):
        async with sessions.begin() as session:
            assert len((await claim_one(session)).attempts) == 1  # the process dies here
        leases.append(await seconds_until_due(sessions))
        await make_due(sessions)

    expected = [LEASE.total_seconds(), 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert [lease is not None and most - 30 < lease <= most for lease, most in zip(leases, expected, strict=True)] == (
        [True] * 9
    )
    assert await state_of(sessions) == ("sending", 9, "interrupted")


async def test_a_success_that_is_recorded_after_the_delivery_was_given_up_counts(
    sessions: Sessions, worker_of: WorkerOf
) -> None:
    held = HeldSends()
    held.may_end.set()
    await users(sessions, 1)
    late = worker_of(held.send)
    async with sessions.begin() as session:
        [claimed] = (await claim_one(session)).attempts
    late.begin([claimed])
    await asyncio.gather(*late._sending)
    # The database is away until the lease has ended. Then another process finds the delivery first.
    await make_due(sessions, first_due_before=RetryPolicy().period)
    await attempt_once(worker_of(held.send))
    assert await state_of(sessions) == ("failed", 1, "interrupted")

    await late._record_and_claim()

    assert await state_of(sessions) == ("sent", 1, None)
    types = [event_type for event_type, _ in await mail_events(sessions)]
    assert types == ["notification.failed", "notification.sent"]
