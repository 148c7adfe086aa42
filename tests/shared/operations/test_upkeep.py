"""What was resolved or ended long ago is deleted; what waits or runs stays, however old it is."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from shared.database import Database
from shared.ids import new_id
from shared.messaging import inbox
from shared.messaging.dead_letter import ParkReason, forget_resolved
from shared.messaging.envelope import received_of
from shared.messaging.parked_events import ParkedFilter
from shared.messaging.slices import park_event
from shared.operations import runs
from shared.operations.parked import ParkedOperations
from shared.upkeep import (
    OPERATIONS_BATCH,
    OPERATIONS_KEPT,
    PARKED_EVENTS_BATCH,
    PARKED_EVENTS_KEPT,
    upkeep_of_operations,
    upkeep_of_parked_events,
)
from tests.shared.messaging.scenario import CONSUMER, Rows
from tests.shared.operations.standstill import CONSUMERS, key_at_rest

ACTOR = "operator@example.com"
MINUTE = timedelta(minutes=1)
AGEING = {
    "parked_event": ("parked_at", "resolved_at"),
    "parked_event_action": ("acted_at",),
    "operation": ("started_at", "moved_at"),
}
FILL_EVENTS = sa.text("""
    INSERT INTO parked_event (
        consumer, topic, partition, "offset", key, headers, payload, reason, resolution, resolved_at
    )
    SELECT 'test.users', 'users', 0, n, n::text, '{}', '', 'refused', 'discarded', now() - interval '1 year'
    FROM generate_series(1, :events) AS n
""")
FILL_ACTIONS = sa.text("""
    INSERT INTO parked_event_action (parked_event_id, actor, action, outcome)
    SELECT id, 'operator', 'discard', 'done' FROM parked_event
""")
READ_WHOLE = sa.text("SELECT relname FROM pg_stat_xact_user_tables WHERE seq_tup_read > 0")


@pytest.fixture
def parked(database: Database) -> ParkedOperations:
    return ParkedOperations(database.sessions, CONSUMERS)


@pytest.fixture
def rows(database: Database) -> Rows:
    return Rows(database.sessions)


async def discard_all(parked: ParkedOperations) -> None:
    waiting = await parked.find(ParkedFilter())
    await parked.discard([event.id for event in waiting], actor=ACTOR, reason="a test order")


async def let_pass(database: Database, time: timedelta) -> None:
    """For all that is there."""
    async with database.sessions.begin() as session:
        for table, columns in AGEING.items():
            earlier = ", ".join(f"{column} = {column} - CAST(:time AS interval)" for column in columns)
            await session.execute(sa.text(f"UPDATE {table} SET {earlier}"), {"time": time})  # noqa: S608 - constants


async def fill_with_resolved(database: Database, events: int) -> None:
    """Of a year ago, each with one action, and counted by the planner."""
    async with database.sessions.begin() as session:
        await session.execute(FILL_EVENTS, {"events": events})
        await session.execute(FILL_ACTIONS)
        await session.execute(sa.text("ANALYZE parked_event, parked_event_action"))
        # What this one read must not be counted among what the next transaction of the connection reads.
        await session.execute(sa.text("SELECT pg_stat_force_next_flush()"))


async def begin_operation(database: Database, *, total: int) -> runs.Operation:
    """With nothing to do it is done."""
    async with database.sessions.begin() as session:
        return await runs.begin(session, kind="resend", actor=ACTOR, parameters={}, total=total)


async def test_a_resolved_event_goes_when_its_time_is_over_and_what_was_done_about_it_goes_with_it(
    database: Database, parked: ParkedOperations, rows: Rows
) -> None:
    for _ in range(2):
        await key_at_rest(database.sessions, events=1)
        await discard_all(parked)
        await let_pass(database, PARKED_EVENTS_KEPT - MINUTE)
    before = await rows.of("SELECT id FROM parked_event ORDER BY id")
    await upkeep_of_parked_events(database.sessions)
    assert await rows.of("SELECT id FROM parked_event") == before[1:]
    assert await rows.of("SELECT parked_event_id, action FROM parked_event_action") == [(*before[1], "discard")]


async def test_a_waiting_event_stays_however_old_it_is_and_with_all_that_was_tried(
    database: Database, parked: ParkedOperations, rows: Rows
) -> None:
    key = await key_at_rest(database.sessions, events=2, poison=frozenset({1}))
    keys = await parked.plan_replay(ParkedFilter())
    assert [outcome.applied async for outcome in parked.replay(keys, actor=ACTOR)] == [0]
    await let_pass(database, 2 * PARKED_EVENTS_KEPT)
    await upkeep_of_parked_events(database.sessions)
    assert [(event.key, event.sequence) for event in await parked.find(ParkedFilter())] == [
        (str(key), 1),
        (str(key), 2),
    ]
    assert await rows.of("SELECT action, outcome FROM parked_event_action") == [("replay", "failed")]


async def test_resolved_events_go_in_batches_the_oldest_first(
    database: Database, parked: ParkedOperations, rows: Rows
) -> None:
    await key_at_rest(database.sessions, events=1)
    await discard_all(parked)
    await let_pass(database, MINUTE)
    await key_at_rest(database.sessions, events=2)
    await discard_all(parked)
    await let_pass(database, MINUTE)
    before = await rows.of("SELECT id FROM parked_event ORDER BY id")
    left = []
    for _ in range(3):
        async with database.sessions.begin() as session:
            deleted = await forget_resolved(session, older_than=timedelta(0), limit=2)
        left.append((deleted, await rows.of("SELECT id FROM parked_event")))
    assert left == [(2, before[2:]), (1, []), (0, [])]
    assert await rows.count("parked_event_action") == 0


async def test_a_full_batch_does_not_read_the_whole_tables(database: Database) -> None:
    await fill_with_resolved(database, 20 * PARKED_EVENTS_BATCH)
    async with database.sessions.begin() as session:
        deleted = await forget_resolved(session, older_than=timedelta(0), limit=PARKED_EVENTS_BATCH)
        read_whole = await session.scalars(READ_WHOLE)
        assert (deleted, read_whole.all()) == (PARKED_EVENTS_BATCH, [])


async def test_the_upkeep_goes_on_until_nothing_old_is_left(database: Database, rows: Rows) -> None:
    await fill_with_resolved(database, PARKED_EVENTS_BATCH + 1)
    async with database.sessions.begin() as session:
        await session.execute(
            sa.text("""
                INSERT INTO operation (id, kind, actor, parameters, status, total, moved_at)
                SELECT gen_random_uuid(), 'resend', '', '{}', 'done', 0, now() - interval '1 year'
                FROM generate_series(0, :batch) AS n
            """),
            {"batch": OPERATIONS_BATCH},
        )
    await upkeep_of_parked_events(database.sessions)
    await upkeep_of_operations(database.sessions)
    assert (await rows.count("parked_event"), await rows.count("operation")) == (0, 0)


async def test_a_record_that_kafka_may_still_send_again_is_not_parked_anew(
    database: Database, parked: ParkedOperations, rows: Rows
) -> None:
    unreadable = received_of(topic="users", partition=0, offset=1, key=str(new_id()), value=b"{}", headers={})

    async def read() -> int:
        async with database.sessions.begin() as session:
            result = await park_event(
                session,
                consumer=CONSUMER,
                topic="users",
                event=unreadable,
                reason=ParkReason.UNDECODABLE,
                error="the header ce_specversion is missing",
            )
        return len(result.parked)

    first = await read()
    await discard_all(parked)
    await let_pass(database, inbox.RETENTION)
    await upkeep_of_parked_events(database.sessions)
    assert (first, await read(), await rows.count("parked_event")) == (1, 0, 1)


async def test_an_ended_operation_goes_when_its_time_is_over_and_a_running_one_never(
    database: Database, rows: Rows
) -> None:
    running = await begin_operation(database, total=3)
    stopped = await begin_operation(database, total=3)
    await begin_operation(database, total=0)
    async with database.sessions.begin() as session:
        await runs.stop(session, stopped.id)
    await let_pass(database, 2 * MINUTE)
    young = await begin_operation(database, total=0)
    await let_pass(database, OPERATIONS_KEPT - MINUTE)
    await upkeep_of_operations(database.sessions)
    assert await rows.of("SELECT id FROM operation ORDER BY id") == [(running.id,), (young.id,)]
