"""A position is purged when its key has been silent for so long that the inbox knows none of its events."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from shared.database import Database
from shared.ids import new_id
from shared.maintenance import BATCH_ROWS, purge_idle_positions
from shared.messaging.consumer.batch import apply_batch
from shared.messaging.consumer.positions import POSITION_RETENTION, purge_positions
from shared.messaging.consumer.progress import BatchResult
from tests.harness.builders import id_of_age, received
from tests.harness.databases import execute_as_owner
from tests.harness.read_rows import count_reads
from tests.harness.rows import Rows
from tests.shared.effects import CONSUMER, credit_reserved, subscription
from tests.shared.operations.blocked_keys import blocked_key


@pytest.fixture
def rows(database: Database) -> Rows:
    return Rows(database.sessions)


async def consume(database: Database, user_id: UUID, sequence: int, *, event_id: UUID | None = None) -> BatchResult:
    event = received(credit_reserved(user_id), sequence=sequence, event_id=event_id)
    async with database.sessions.begin() as session:
        return await apply_batch(session, consumer=CONSUMER, subscription=subscription(), events=[event])


async def let_pass(database: Database, time: timedelta) -> None:
    """Let time pass for all positions."""
    async with database.sessions.begin() as session:
        await session.execute(
            sa.text("UPDATE inbox_sequence SET moved_on = moved_on - CAST(:days AS integer)"), {"days": time.days}
        )


async def test_a_position_is_purged_after_its_retention_and_the_next_event_is_applied(
    database: Database, rows: Rows
) -> None:
    silent, active = new_id(), new_id()
    await consume(database, silent, 1)
    await consume(database, active, 1)
    await let_pass(database, POSITION_RETENTION)
    await consume(database, active, 2)
    assert await purge_idle_positions(database.sessions, datetime.now(UTC)) == 0
    await let_pass(database, timedelta(days=1))
    assert await purge_idle_positions(database.sessions, datetime.now(UTC)) == 1
    assert await rows.of("SELECT key FROM inbox_sequence") == [(str(active),)]
    result = await consume(database, silent, 2)
    assert len(result.applied) == 1


async def test_a_late_event_of_a_purged_key_is_too_old_to_be_applied(database: Database, rows: Rows) -> None:
    user_id = new_id()
    await consume(database, user_id, 2)
    await let_pass(database, POSITION_RETENTION + timedelta(days=1))
    assert await purge_idle_positions(database.sessions, datetime.now(UTC)) == 1
    # The events of the key are at least as old as the position was, by the order of their commits.
    for sequence in (1, 2):
        await consume(database, user_id, sequence, event_id=id_of_age(POSITION_RETENTION))
    assert await rows.dead_letters() == [(str(user_id), 1, "too_old"), (str(user_id), 2, "too_old")]
    assert await rows.effects() == [(str(user_id), 2)]


async def test_the_position_of_a_blocked_key_is_kept(database: Database, rows: Rows) -> None:
    await blocked_key(database.sessions)
    await let_pass(database, 2 * POSITION_RETENTION)
    assert await purge_idle_positions(database.sessions, datetime.now(UTC)) == 0
    assert await rows.count("inbox_sequence") == 1


async def test_a_purge_does_not_wait_for_a_consumer(database: Database, rows: Rows) -> None:
    used, silent = new_id(), new_id()
    for user_id in (used, silent):
        await consume(database, user_id, 1)
    await let_pass(database, 2 * POSITION_RETENTION)
    async with database.sessions.begin() as consuming:
        event = received(credit_reserved(used), sequence=2)
        await apply_batch(consuming, consumer=CONSUMER, subscription=subscription(), events=[event])
        assert await purge_idle_positions(database.sessions, datetime.now(UTC)) == 1
    assert await rows.of("SELECT key, sequence FROM inbox_sequence") == [(str(used), 2)]


async def test_a_batch_does_not_read_the_whole_table(database: Database) -> None:
    fill = sa.text("""
        INSERT INTO inbox_sequence (consumer, topic, key, sequence, moved_on)
        SELECT 'test.users', 'users', n::text, 1, current_date - n / 1000 FROM generate_series(1, :keys) AS n
    """)
    async with database.sessions.begin() as session:
        await session.execute(fill, {"keys": 100 * BATCH_ROWS})
    await execute_as_owner(database.sessions, "ANALYZE inbox_sequence")
    async with database.sessions.begin() as session:
        read = await count_reads(session, "inbox_sequence")
        assert await purge_positions(session, today=datetime.now(UTC).date(), limit=BATCH_ROWS) == BATCH_ROWS
        assert await read() <= 3 * BATCH_ROWS
