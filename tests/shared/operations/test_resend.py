"""A resend publishes sent events again, unchanged and in order; consumers apply only what they have missed."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from shared.connection_urls import dsn_of
from shared.database import Database
from shared.ids import new_id
from shared.jobs import JobRunner, Jobs
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.relay import Relay
from shared.messaging.outbox.resend import SCAN_IDS, ResendPlan, count_events, next_page, outbox_status, plan_resend
from shared.operations import runs
from shared.operations.runs import Operation
from shared.operations.sending import Sending, begin_resend, enqueue_operation, with_operations
from tests.harness.databases import execute_as_owner
from tests.harness.outbox import send_without_kafka
from tests.harness.read_rows import count_reads
from tests.harness.rows import Rows
from tests.harness.running import running, running_consumers
from tests.harness.table_rows import MESSAGING_FILLS, fill
from tests.harness.waiting import until
from tests.shared.effects import credit_reserved, has_effects, sequences_by_key

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class Killed(Exception):
    """The process was killed after a page."""


async def record_events(database: Database, *user_ids: UUID) -> None:
    async with database.sessions.begin() as session:
        for user_id in user_ids:
            record(session, credit_reserved(user_id))


async def resend(
    database: Database,
    *,
    page_rows: int = 2,
    since: datetime = LONG_AGO,
    limit: int | None = None,
    key: str | None = None,
) -> Operation:
    async with database.sessions.begin() as session:
        plan = await plan_resend(session, since=since, key=key, limit=limit)
        operation = await begin_resend(session, plan, actor="operator")
    ended = await Sending(resend_page_rows=page_rows).run(database.sessions, operation.id)
    assert ended is not None
    return ended


async def outbox(database: Database) -> list[tuple[int, UUID, str, int]]:
    """Return id, event id, key and sequence of each event in the outbox, ordered by id."""
    rows = await Rows(database.sessions).of("SELECT id, event_id, key, sequence FROM outbox ORDER BY id")
    return [(id_, event_id, key, sequence) for id_, event_id, key, sequence in rows]


async def test_a_resend_restores_the_outbox(database: Database) -> None:
    one, other = new_id(), new_id()
    for _ in range(3):
        await record_events(database, one, other)
    before = await outbox(database)
    await send_without_kafka(database.sessions)
    ended = await resend(database)
    assert (ended.status, ended.total, ended.done) == ("done", 6, 6)
    assert await outbox(database) == before
    assert await Rows(database.sessions).count("outbox_sent") == 0


async def test_resent_events_precede_events_that_were_recorded_later(database: Database) -> None:
    user_id = new_id()
    await record_events(database, user_id, user_id)
    await send_without_kafka(database.sessions)
    await record_events(database, user_id)
    await resend(database)
    assert [sequence for *_, sequence in await outbox(database)] == [1, 2, 3]


async def test_a_resend_is_limited_by_time_topic_key_and_number(database: Database) -> None:
    one, other = new_id(), new_id()
    await record_events(database, one, other, one)
    await send_without_kafka(database.sessions)
    async with database.sessions.begin() as session:
        await session.execute(
            sa.text("UPDATE outbox_sent SET sent_at = sent_at - interval '1 hour' WHERE sequence = 1")
        )
        half_an_hour_ago = datetime.now(UTC) - timedelta(minutes=30)
        plans = [
            await plan_resend(session, since=half_an_hour_ago),
            await plan_resend(session, since=LONG_AGO, key=str(other)),
            await plan_resend(session, since=LONG_AGO, topic="orders"),
            await plan_resend(session, since=LONG_AGO, limit=2),
        ]
        assert [await count_events(session, plan) for plan in plans] == [(1, True), (1, True), (0, True), (2, True)]
    await resend(database, limit=2)
    assert [(key, sequence) for _, _, key, sequence in await outbox(database)] == [(str(one), 1), (str(other), 1)]
    nothing = await resend(database, since=datetime.now(UTC))
    assert (nothing.status, nothing.total) == ("done", 0)
    await send_without_kafka(database.sessions)
    await resend(database, key=str(one), page_rows=10)  # the ids of the page enclose another key's event
    assert [(key, sequence) for _, _, key, sequence in await outbox(database)] == [(str(one), 1), (str(one), 2)]


async def test_an_event_that_was_resent_before_keeps_its_place(database: Database) -> None:
    """The event is stored under a later day than its successor."""
    user_id = new_id()
    await record_events(database, user_id, user_id)
    await send_without_kafka(database.sessions)
    async with database.sessions.begin() as session:
        await session.execute(
            sa.text("UPDATE outbox_sent SET day = day - 1, sent_at = sent_at - interval '1 day' WHERE sequence = 2")
        )
    await resend(database, page_rows=1)
    assert [sequence for *_, sequence in await outbox(database)] == [1, 2]


async def test_a_page_of_a_week_reads_a_bounded_number_of_rows(database_url: str, database: Database) -> None:
    await fill(database_url, {"outbox_sent": MESSAGING_FILLS["outbox_sent"]}, rows=4 * SCAN_IDS)
    async with database.sessions.begin() as session:
        plan = await plan_resend(session, since=LONG_AGO, key="a key without events")
    for is_counted in (False, True):
        async with database.sessions.begin() as session:
            read = await count_reads(session, "outbox_sent_p%")
            if is_counted:
                assert await count_events(session, plan) == (0, True)
            else:
                page = await next_page(session, plan, after_id=0)
                assert (page.events, page.is_last) == (0, False)
            assert SCAN_IDS - 100 <= await read() <= (4 if is_counted else 1) * (SCAN_IDS + 100)


def test_a_plan_can_be_stored_as_json() -> None:
    plan = ResendPlan(LONG_AGO, datetime.now(UTC), 7, topic="users", key=None, limit=7)
    assert ResendPlan.from_parameters(plan.as_parameters()) == plan


async def test_an_interrupted_operation_is_resumed_after_its_last_page(database: Database) -> None:
    await record_events(database, *[new_id() for _ in range(5)])
    before = await outbox(database)
    await send_without_kafka(database.sessions)
    async with database.sessions.begin() as session:
        plan = await plan_resend(session, since=LONG_AGO)
        operation = await begin_resend(session, plan, actor="operator")

    def die(_operation: Operation) -> None:
        raise Killed

    sending = Sending(resend_page_rows=2)
    with pytest.raises(Killed):
        await sending.run(database.sessions, operation.id, on_progress=die)
    assert len(await outbox(database)) == 2
    twice = await asyncio.gather(*(sending.run(database.sessions, operation.id) for _ in range(2)))
    assert [(each.status, each.done) for each in twice if each] == [("done", 5)] * 2
    assert await outbox(database) == before


async def test_a_stopped_operation_sends_no_more_events(database: Database) -> None:
    await record_events(database, new_id())
    await send_without_kafka(database.sessions)
    async with database.sessions.begin() as session:
        operation = await begin_resend(session, await plan_resend(session, since=LONG_AGO), actor="operator")
        await runs.stop(session, operation.id)
    ended = await Sending().run(database.sessions, operation.id)
    assert ended is not None
    assert (ended.status, ended.done) == ("stopped", 0)


async def test_an_operation_waits_while_the_outbox_is_backlogged(database: Database) -> None:
    await record_events(database, new_id(), new_id())
    await send_without_kafka(database.sessions)
    await record_events(database, new_id())
    async with database.sessions.begin() as session:
        operation = await begin_resend(session, await plan_resend(session, since=LONG_AGO), actor="operator")
    sending = Sending(max_waiting_events=0)
    waiting = await sending.run(database.sessions, operation.id, seconds=0.3)
    assert waiting is not None
    assert (waiting.status, waiting.done) == ("running", 0)
    await send_without_kafka(database.sessions)
    ended = await sending.run(database.sessions, operation.id, seconds=60)
    assert ended is not None
    assert ended.status == "done"


async def test_several_jobs_in_turn_run_one_operation(database: Database, database_url: str) -> None:
    await record_events(database, *[new_id() for _ in range(3)])
    await send_without_kafka(database.sessions)
    async with database.sessions.begin() as session:
        plan = await plan_resend(session, since=LONG_AGO)
        operation = await begin_resend(session, plan, actor="operator")
        await enqueue_operation(session, operation)
    jobs = with_operations(Jobs(), Sending(resend_page_rows=1), seconds_per_job=0.001)  # one page per job
    runner = JobRunner(jobs, dsn=dsn_of(database_url), sessions=database.sessions)

    async def is_done() -> bool:
        return await Rows(database.sessions).of("SELECT status, done FROM operation") == [("done", 3)]

    async with running(runner):
        await until(is_done, what="the operation ends")


async def test_the_status_has_waiting_and_sent_events_and_the_leader(database: Database) -> None:
    await record_events(database, new_id(), new_id())
    await send_without_kafka(database.sessions)
    await record_events(database, new_id())
    async with database.sessions.begin() as session:
        await session.execute(
            sa.text("INSERT INTO relay_lease VALUES (0, 'me', 7, clock_timestamp() + interval '1 minute')")
        )
    await execute_as_owner(database.sessions, "ANALYZE outbox_sent")
    async with database.sessions() as session:
        status = await outbox_status(session)
    assert (status.waiting, status.sent_kept) == (1, 2)
    assert status.oldest_age is not None
    assert timedelta(0) < status.oldest_age < timedelta(minutes=1)
    assert [(lease.owner, lease.epoch, lease.is_held) for lease in status.leases] == [("me", 7, True)]


async def test_a_consumer_applies_only_the_resent_events_that_it_has_missed(
    database: Database, relay_of: Callable[..., Relay], consumers_of: Callable[..., ConsumerGroups]
) -> None:
    user_ids = [new_id() for _ in range(4)]
    rows = Rows(database.sessions)
    # The broker loses the events of the first transaction: two users have no other events.
    await record_events(database, *user_ids[:2])
    await send_without_kafka(database.sessions)
    for _ in range(3):
        await record_events(database, *user_ids[2:])
    async with running(relay_of()), running_consumers(consumers_of(database)):
        await until(has_effects(database, 6), what="the other events are applied")

        async def sent_all() -> bool:
            return await rows.count("outbox_sent") == 8

        await until(sent_all, what="all events are sent")
        ended = await resend(database)
        assert ended.done == 8

        async def applied_all() -> bool:
            return await rows.count("effect") == 8 and await rows.count("outbox") == 0

        await until(applied_all, what="the lost events are applied")
        # Once later events are applied, all resent events have been consumed.
        await record_events(database, *user_ids)
        await until(has_effects(database, 12), what="the last events are applied")
    expected = {str(user_id): [1, 2] for user_id in user_ids[:2]} | {str(u): [1, 2, 3, 4] for u in user_ids[2:]}
    assert sequences_by_key(await rows.effects()) == expected
    assert await rows.count("dead_letter") == 0
