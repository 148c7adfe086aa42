"""Dead letters and operations are deleted some time after their end; unresolved and running ones are kept."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from shared.database import Database
from shared.ids import new_id
from shared.maintenance import (
    BATCH_ROWS,
    DEAD_LETTER_RETENTION,
    OPERATION_RETENTION,
    POSITION_ACTION_RETENTION,
    purge_ended_operations,
    purge_old_position_actions,
    purge_resolved_dead_letters,
)
from shared.messaging.dead_letters.queries import DeadLetterFilter
from shared.messaging.dead_letters.reason import DeadLetterReason
from shared.messaging.dead_letters.store import purge_dead_letters
from shared.messaging.envelope import received_of
from shared.messaging.storage.daily_partitions import INBOX_RETENTION
from shared.operations import runs
from shared.operations.dead_letters import DeadLetterOperations
from shared.operations.positions import PositionOperations
from tests.harness.databases import execute_as_owner
from tests.harness.read_rows import count_reads
from tests.harness.rows import Rows
from tests.shared.effects import CONSUMER
from tests.shared.operations.blocked_keys import ACTOR, SUBSCRIPTIONS, blocked_key, store_as_dead_letter

MINUTE = timedelta(minutes=1)
TIME_COLUMNS = {
    "dead_letter": ("dead_lettered_at", "resolved_at"),
    "dead_letter_action": ("acted_at",),
    "job_action": ("acted_at",),
    "operation": ("started_at", "moved_at"),
    "position_action": ("acted_at",),
}
FILL_DEAD_LETTERS = sa.text("""
    INSERT INTO dead_letter (
        consumer, topic, partition, "offset", key, headers, payload, reason, resolution, resolved_at
    )
    SELECT 'test.users', 'users', 0, n, n::text, '{}', '', 'rule_violated', 'discarded', now() - interval '1 year'
    FROM generate_series(1, :events) AS n
""")
FILL_ACTIONS = sa.text("""
    INSERT INTO dead_letter_action (dead_letter_id, actor, action, outcome)
    SELECT id, 'operator', 'discard', 'done' FROM dead_letter
""")


@pytest.fixture
def rows(database: Database) -> Rows:
    return Rows(database.sessions)


def now() -> datetime:
    return datetime.now(UTC)


async def discard_all(dead_letters: DeadLetterOperations) -> None:
    unresolved = await dead_letters.unresolved(DeadLetterFilter())
    await dead_letters.discard(unresolved, actor=ACTOR, note="a test order")


async def let_pass(database: Database, time: timedelta) -> None:
    """Let time pass for all rows."""
    async with database.sessions.begin() as session:
        for table, columns in TIME_COLUMNS.items():
            earlier = ", ".join(f"{column} = {column} - CAST(:time AS interval)" for column in columns)
            await session.execute(sa.text(f"UPDATE {table} SET {earlier}"), {"time": time})  # noqa: S608 - constants


async def fill_with_resolved(database: Database, events: int) -> None:
    """Insert dead letters that were resolved a year ago, each with an action, and analyze the tables."""
    async with database.sessions.begin() as session:
        await session.execute(FILL_DEAD_LETTERS, {"events": events})
        await session.execute(FILL_ACTIONS)
    await execute_as_owner(database.sessions, "ANALYZE dead_letter, dead_letter_action")


async def begin_operation(database: Database, *, total: int) -> runs.Operation:
    """Begin an operation; one with `total` 0 has ended already."""
    async with database.sessions.begin() as session:
        return await runs.begin(session, kind="resend", actor=ACTOR, parameters={}, total=total)


async def test_a_resolved_dead_letter_is_deleted_with_its_actions_after_its_retention(
    database: Database, dead_letters: DeadLetterOperations, rows: Rows
) -> None:
    for _ in range(2):
        await blocked_key(database.sessions, events=1)
        await discard_all(dead_letters)
        await let_pass(database, DEAD_LETTER_RETENTION - MINUTE)
    before = await rows.of("SELECT id FROM dead_letter ORDER BY id")
    await purge_resolved_dead_letters(database.sessions, now())
    assert await rows.of("SELECT id FROM dead_letter") == before[1:]
    assert await rows.of("SELECT dead_letter_id, action FROM dead_letter_action") == [(*before[1], "discard")]


async def test_an_unresolved_dead_letter_is_kept_with_its_actions(
    database: Database, dead_letters: DeadLetterOperations, rows: Rows
) -> None:
    key = await blocked_key(database.sessions, events=2, rejected=frozenset({1}))
    keys = await dead_letters.select_for_replay(DeadLetterFilter(), all_keys=True)
    outcomes = dead_letters.replay(keys, wanted=DeadLetterFilter(), actor=ACTOR)
    assert [outcome.replay.applied async for outcome in outcomes] == [0]
    await let_pass(database, 2 * DEAD_LETTER_RETENTION)
    await purge_resolved_dead_letters(database.sessions, now())
    assert [(event.key, event.sequence) for event in await dead_letters.unresolved(DeadLetterFilter())] == [
        (str(key), 1),
        (str(key), 2),
    ]
    assert await rows.of("SELECT action, outcome FROM dead_letter_action") == [("replay", "failed")]


async def test_resolved_dead_letters_are_deleted_in_batches_the_oldest_first(
    database: Database, dead_letters: DeadLetterOperations, rows: Rows
) -> None:
    await blocked_key(database.sessions, events=1)
    await discard_all(dead_letters)
    await let_pass(database, MINUTE)
    await blocked_key(database.sessions, events=2)
    await discard_all(dead_letters)
    await let_pass(database, MINUTE)
    before = await rows.of("SELECT id FROM dead_letter ORDER BY id")
    outcomes = []
    for _ in range(3):
        async with database.sessions.begin() as session:
            deleted = await purge_dead_letters(session, before=now(), limit=2)
        outcomes.append((deleted, await rows.of("SELECT id FROM dead_letter")))
    assert outcomes == [(2, before[2:]), (1, []), (0, [])]
    assert await rows.count("dead_letter_action") == 0


async def test_a_full_batch_does_not_read_the_whole_tables(database: Database) -> None:
    await fill_with_resolved(database, 20 * BATCH_ROWS)
    async with database.sessions.begin() as session:
        read = await count_reads(session, "dead_letter", "dead_letter_action", only_sequential=True)
        assert await purge_dead_letters(session, before=now(), limit=BATCH_ROWS) == BATCH_ROWS
        assert await read() == 0


async def test_a_purge_repeats_batches_until_nothing_old_is_left(database: Database, rows: Rows) -> None:
    await fill_with_resolved(database, BATCH_ROWS + 1)
    async with database.sessions.begin() as session:
        await session.execute(
            sa.text("""
                INSERT INTO operation (id, kind, actor, parameters, status, total, moved_at)
                SELECT gen_random_uuid(), 'resend', '', '{}', 'done', 0, now() - interval '1 year'
                FROM generate_series(0, :batch) AS n
            """),
            {"batch": BATCH_ROWS},
        )
    await purge_resolved_dead_letters(database.sessions, now())
    await purge_ended_operations(database.sessions, now())
    assert (await rows.count("dead_letter"), await rows.count("operation")) == (0, 0)


async def test_a_record_that_kafka_may_deliver_again_is_not_stored_again(
    database: Database, dead_letters: DeadLetterOperations, rows: Rows
) -> None:
    undecodable = received_of(topic="users", partition=0, offset=1, key=str(new_id()), value=b"{}", headers={})

    async def consume() -> int:
        reason, error = DeadLetterReason.UNDECODABLE, "the header ce_specversion is missing"
        result = await store_as_dead_letter(database.sessions, undecodable, reason=reason, error=error)
        return len(result.dead_letters)

    first = await consume()
    await discard_all(dead_letters)
    await let_pass(database, INBOX_RETENTION)
    await purge_resolved_dead_letters(database.sessions, now())
    assert (first, await consume(), await rows.count("dead_letter")) == (1, 0, 1)


async def test_the_record_of_a_reset_position_is_deleted_after_its_retention(database: Database) -> None:
    key = str(await blocked_key(database.sessions, events=1))
    positions = PositionOperations(database.sessions, SUBSCRIPTIONS)
    for sequence in (7, 8):
        await positions.reset(consumer=CONSUMER, key=key, to=sequence, actor=ACTOR, note="forged")
        await let_pass(database, POSITION_ACTION_RETENTION - MINUTE)
    await purge_old_position_actions(database.sessions, now())
    assert [each.after for each in (await positions.show(consumer=CONSUMER, key=key)).actions] == [8]


async def test_an_ended_operation_is_deleted_after_its_retention_and_a_running_one_is_kept(
    database: Database, rows: Rows
) -> None:
    running = await begin_operation(database, total=3)
    stopped = await begin_operation(database, total=3)
    await begin_operation(database, total=0)
    async with database.sessions.begin() as session:
        await runs.stop(session, stopped.id)
    await let_pass(database, 2 * MINUTE)
    young = await begin_operation(database, total=0)
    await let_pass(database, OPERATION_RETENTION - MINUTE)
    await purge_ended_operations(database.sessions, now())
    assert await rows.of("SELECT id FROM operation ORDER BY id") == [(running.id,), (young.id,)]
