"""What was sent is sent again: the same events in the same order, and nobody who has applied them does it twice."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from shared.database import Database, dsn_of
from shared.ids import new_id
from shared.jobs import JobRunner, Jobs
from shared.messaging.consumer.group import ConsumerGroups
from shared.messaging.consumer.worker import ConsumerWorker
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.publisher import Publisher
from shared.messaging.outbox.relay import Relay
from shared.messaging.outbox.resend import ResendPlan, outbox_status, plan_resend
from shared.messaging.topics import create_topics
from shared.operations import runs
from shared.operations.runs import Operation
from shared.operations.sending import Sending, begin_resend, enqueue_operation, with_operations
from tests.harness.rows import Rows
from tests.harness.waiting import until
from tests.shared.messaging.scenario import CONSUMER, credit_reserved, subscription

Running = Callable[[], AbstractAsyncContextManager[None]]

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
_SEND_BY_HAND = sa.text("""
    WITH gone AS (DELETE FROM outbox RETURNING *)
    INSERT INTO outbox_sent (
        day, id, event_id, topic, key, sequence, type, source, dataschema, occurred_at, traceparent, tracestate,
        payload, shard, partition, "offset", sent_at
    )
    SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date, id, event_id, topic, key, sequence, type, source, dataschema,
           occurred_at, traceparent, tracestate, payload, shard, 0, 0, clock_timestamp()
    FROM gone
""")


class Killed(Exception):
    """The process died after a page."""


async def record_events(database: Database, *user_ids: UUID) -> None:
    async with database.sessions.begin() as session:
        for user_id in user_ids:
            record(session, credit_reserved(user_id))


async def send_by_hand(database: Database) -> None:
    """As the relay moves rows, without Kafka."""
    async with database.sessions.begin() as session:
        await session.execute(_SEND_BY_HAND)


async def resend(
    database: Database,
    *,
    page_rows: int = 2,
    since: datetime = LONG_AGO,
    limit: int | None = None,
    key: str | None = None,
) -> Operation:
    async with database.sessions.begin() as session:
        plan = await plan_resend(session, since=since, key=key, limit=limit, page_rows=page_rows)
        operation = await begin_resend(session, plan, actor="operator")
    ended = await Sending().run(database.sessions, operation.id)
    assert ended is not None
    return ended


async def outbox(database: Database) -> list[tuple[int, UUID, str, int]]:
    """(id, event id, key, sequence) in the order of the ids."""
    rows = await Rows(database.sessions).of("SELECT id, event_id, key, sequence FROM outbox ORDER BY id")
    return [(id_, event_id, key, sequence) for id_, event_id, key, sequence in rows]


async def test_the_outbox_is_again_what_it_was_before_it_was_sent(database: Database) -> None:
    one, other = new_id(), new_id()
    for _ in range(3):
        await record_events(database, one, other)
    before = await outbox(database)
    await send_by_hand(database)
    ended = await resend(database)
    assert (ended.status, ended.total, ended.done) == ("done", 6, 6)
    assert await outbox(database) == before
    assert await Rows(database.sessions).count("outbox_sent") == 0


async def test_what_is_sent_again_goes_before_what_was_recorded_later(database: Database) -> None:
    user_id = new_id()
    await record_events(database, user_id, user_id)
    await send_by_hand(database)
    await record_events(database, user_id)
    await resend(database)
    assert [sequence for *_, sequence in await outbox(database)] == [1, 2, 3]


async def test_a_resend_keeps_to_its_time_its_key_and_its_limit(database: Database) -> None:
    one, other = new_id(), new_id()
    await record_events(database, one, other, one)
    await send_by_hand(database)
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
    assert [plan.events for plan in plans] == [1, 1, 0, 2]
    await resend(database, limit=2)
    assert [(key, sequence) for _, _, key, sequence in await outbox(database)] == [(str(one), 1), (str(other), 1)]
    nothing = await resend(database, since=datetime.now(UTC))
    assert (nothing.status, nothing.total) == ("done", 0)
    await send_by_hand(database)
    await resend(database, key=str(one), page_rows=10)  # a page whose ids span another key's event
    assert [(key, sequence) for _, _, key, sequence in await outbox(database)] == [(str(one), 1), (str(one), 2)]


async def test_one_that_was_sent_again_before_still_comes_in_its_place(database: Database) -> None:
    """It lies in a later day than its successor then."""
    user_id = new_id()
    await record_events(database, user_id, user_id)
    await send_by_hand(database)
    async with database.sessions.begin() as session:
        await session.execute(
            sa.text("UPDATE outbox_sent SET day = day - 1, sent_at = sent_at - interval '1 day' WHERE sequence = 2")
        )
    await resend(database, page_rows=1)
    assert [sequence for *_, sequence in await outbox(database)] == [1, 2]


def test_a_plan_survives_being_kept() -> None:
    plan = ResendPlan(LONG_AGO, datetime.now(UTC), topic="users", key=None, last_ids=[3, 7], events=4)
    assert ResendPlan.from_parameters(plan.as_parameters()) == plan


async def test_an_operation_that_was_interrupted_goes_on_where_it_stood(database: Database) -> None:
    await record_events(database, *[new_id() for _ in range(5)])
    before = await outbox(database)
    await send_by_hand(database)
    async with database.sessions.begin() as session:
        plan = await plan_resend(session, since=LONG_AGO, page_rows=2)
        operation = await begin_resend(session, plan, actor="operator")

    def die(_moved: Operation) -> None:
        raise Killed

    with pytest.raises(Killed):
        await Sending().run(database.sessions, operation.id, on_progress=die)
    assert len(await outbox(database)) == 2
    twice = await asyncio.gather(*(Sending().run(database.sessions, operation.id) for _ in range(2)))
    assert [(each.status, each.done) for each in twice if each] == [("done", 5)] * 2
    assert await outbox(database) == before


async def test_a_stopped_operation_goes_no_further(database: Database) -> None:
    await record_events(database, new_id())
    await send_by_hand(database)
    async with database.sessions.begin() as session:
        operation = await begin_resend(session, await plan_resend(session, since=LONG_AGO), actor="operator")
        await runs.stop(session, operation.id)
    ended = await Sending().run(database.sessions, operation.id)
    assert ended is not None
    assert (ended.status, ended.done) == ("stopped", 0)


async def test_an_operation_waits_while_the_outbox_is_backlogged(database: Database) -> None:
    await record_events(database, new_id(), new_id())
    await send_by_hand(database)
    await record_events(database, new_id())
    async with database.sessions.begin() as session:
        operation = await begin_resend(session, await plan_resend(session, since=LONG_AGO), actor="operator")
    sending = Sending(max_waiting_events=0)
    waiting = await sending.run(database.sessions, operation.id, seconds=0.3)
    assert waiting is not None
    assert (waiting.status, waiting.done) == ("running", 0)
    await send_by_hand(database)
    ended = await sending.run(database.sessions, operation.id, seconds=60)
    assert ended is not None
    assert ended.status == "done"


async def test_several_jobs_in_turn_run_one_operation(database: Database, database_url: str) -> None:
    await record_events(database, *[new_id() for _ in range(3)])
    await send_by_hand(database)
    async with database.sessions.begin() as session:
        plan = await plan_resend(session, since=LONG_AGO, page_rows=1)
        operation = await begin_resend(session, plan, actor="operator")
        await enqueue_operation(session, operation)
    jobs = with_operations(Jobs(), Sending(), seconds_per_job=0.001)  # one page per job
    runner = JobRunner(jobs, dsn=dsn_of(database_url), sessions=database.sessions)
    task = asyncio.create_task(runner.run())

    async def is_done() -> bool:
        return await Rows(database.sessions).of("SELECT status, done FROM operation") == [("done", 3)]

    try:
        await until(is_done, what="the operation ended")
    finally:
        runner.stop()
        await asyncio.wait_for(task, timeout=20)


async def test_the_status_tells_what_waits_what_is_kept_and_who_leads(database: Database) -> None:
    await record_events(database, new_id(), new_id())
    await send_by_hand(database)
    await record_events(database, new_id())
    async with database.sessions.begin() as session:
        await session.execute(
            sa.text("INSERT INTO relay_lease VALUES (0, 'me', 7, clock_timestamp() + interval '1 minute')")
        )
        await session.execute(sa.text("ANALYZE outbox_sent"))
    async with database.sessions() as session:
        status = await outbox_status(session)
    assert (status.waiting, status.sent_kept) == (1, 2)
    assert status.oldest_age is not None
    assert timedelta(0) < status.oldest_age < timedelta(minutes=1)
    assert [(lease.owner, lease.epoch, lease.is_held) for lease in status.leases] == [("me", 7, True)]


@pytest.fixture
async def with_kafka(database: Database, database_url: str, kafka_bootstrap_servers: str, topic_prefix: str) -> Running:
    """Relay and consumer of the test's database, on a topic of its own."""
    await create_topics(kafka_bootstrap_servers, prefix=topic_prefix)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        relay = Relay(
            dsn=dsn_of(database_url),
            publisher=Publisher(bootstrap_servers=kafka_bootstrap_servers, client_id="test", topic_prefix=topic_prefix),
        )
        consumers = ConsumerGroups(
            [ConsumerWorker(name=CONSUMER, subscription=subscription(), sessions=database.sessions)],
            bootstrap_servers=kafka_bootstrap_servers,
            client_id="test",
            topic_prefix=topic_prefix,
        )
        task = asyncio.create_task(relay.run())
        await consumers.run()
        try:
            yield
        finally:
            await consumers.stop()
            relay.stop()
            await asyncio.wait_for(task, timeout=20)
            await relay.close()

    return running


async def test_a_reader_takes_what_is_sent_again_for_a_repetition_and_applies_what_it_never_got(
    database: Database,
    with_kafka: Running,
) -> None:
    user_ids = [new_id() for _ in range(4)]
    rows = Rows(database.sessions)
    # The broker lost the first transaction's events of two users, who have no later ones.
    await record_events(database, *user_ids[:2])
    await send_by_hand(database)
    for _ in range(3):
        await record_events(database, *user_ids[2:])
    async with with_kafka():

        async def applied_first() -> bool:
            return await rows.count("effect") == 6

        await until(applied_first, what="what the broker kept was applied")
        ended = await resend(database)
        assert ended.done == 8

        async def applied_all() -> bool:
            return await rows.count("effect") == 8 and await rows.count("outbox") == 0

        await until(applied_all, what="what the broker had lost was applied")
        # What comes after everything else has passed what was sent again.
        await record_events(database, *user_ids)

        async def applied_last() -> bool:
            return await rows.count("effect") == 12

        await until(applied_last, what="the last events were applied")
    expected = {str(user_id): [1, 2] for user_id in user_ids[:2]} | {str(u): [1, 2, 3, 4] for u in user_ids[2:]}
    applied: dict[str, list[int]] = {}
    for key, sequence in await rows.effects():
        applied.setdefault(key, []).append(sequence)
    assert applied == expected
    assert await rows.count("dead_letter") == 0
