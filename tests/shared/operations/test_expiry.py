"""A dead letter that no operator resolves expires, and what it had blocked is applied; waiting ones cost nothing."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from shared.database import Database
from shared.messaging.dead_letters.queries import ConsumerKey, waiting_too_long
from shared.operations.dead_letters import DeadLetterOperations
from shared.operations.replay import keys_to_drain
from tests.harness.databases import execute_as_owner
from tests.harness.read_rows import count_reads
from tests.harness.rows import Rows
from tests.harness.statements import execute
from tests.shared.effects import CONSUMER
from tests.shared.operations.blocked_keys import blocked_key

RETENTION = timedelta(days=90)
WAITING = 100_000
FILL = """
    INSERT INTO dead_letter (consumer, topic, partition, "offset", key, headers, payload, reason)
    SELECT :consumer, 'users', 0, n, (n % 1000)::text, '{}', '',
           CASE WHEN n < 1000 THEN 'rule_violated' ELSE 'blocked' END
    FROM generate_series(0, :waiting - 1) AS n
"""
FILL_PAST_RETENTION = """
    INSERT INTO dead_letter (
        consumer, topic, partition, "offset", key, headers, payload, reason, dead_lettered_at, next_try_at
    )
    SELECT :consumer, 'users', 1, n, 'retried', '{}', '', CASE n WHEN 0 THEN 'retrying' ELSE 'blocked' END,
           now() - CAST(:retention AS interval) - interval '1 day', CASE n WHEN 0 THEN now() + interval '1 hour' END
    FROM generate_series(0, :waiting - 1) AS n
"""


@pytest.fixture
def rows(database: Database) -> Rows:
    return Rows(database.sessions)


async def let_pass(database: Database, time: timedelta) -> None:
    """Let time pass for all dead letters."""
    async with database.sessions.begin() as session:
        for column in ("dead_lettered_at", "next_try_at"):
            earlier = sa.text(f"UPDATE dead_letter SET {column} = {column} - CAST(:time AS interval)")  # noqa: S608
            await session.execute(earlier, {"time": time})


async def expire(dead_letters: DeadLetterOperations) -> int:
    return await dead_letters.expire(before=datetime.now(UTC) - RETENTION)


async def test_an_expired_dead_letter_lets_the_events_behind_it_be_applied(
    database: Database, dead_letters: DeadLetterOperations, rows: Rows
) -> None:
    key = await blocked_key(database.sessions, events=3)
    await let_pass(database, RETENTION - timedelta(minutes=1))
    assert await expire(dead_letters) == 0
    await let_pass(database, timedelta(minutes=1))
    with capture_logs() as logs:
        assert await expire(dead_letters) == 1
    assert [(line["event"], line["log_level"], line["key"]) for line in logs] == [
        ("dead_letter_expired", "error", str(key))
    ]
    assert await dead_letters.drain() == 2
    assert await rows.effects() == [(str(key), 2), (str(key), 3)]
    assert await rows.of("SELECT resolution FROM dead_letter ORDER BY id") == [
        ("expired",),
        ("replayed",),
        ("replayed",),
    ]
    assert await rows.of("SELECT actor, action, outcome FROM dead_letter_action ORDER BY id LIMIT 1") == [
        ("retention", "expire", "done")
    ]
    assert await rows.of("SELECT dead_letters FROM inbox_sequence") == [(0,)]


async def test_an_event_that_fails_after_its_predecessor_expired_expires_too(
    database: Database, dead_letters: DeadLetterOperations, rows: Rows
) -> None:
    key = await blocked_key(database.sessions, events=4, rejected=frozenset({1, 3}))
    await let_pass(database, RETENTION)
    outcomes = [(await expire(dead_letters), await dead_letters.drain()) for _ in range(3)]
    assert outcomes == [(1, 1), (1, 1), (0, 0)]
    assert await rows.effects() == [(str(key), 2), (str(key), 4)]


async def test_dead_letters_of_a_topic_that_is_no_longer_consumed_expire_in_order(
    database: Database, rows: Rows
) -> None:
    await blocked_key(database.sessions, events=3)
    await let_pass(database, RETENTION)
    assert await expire(DeadLetterOperations(database.sessions, {})) == 3
    assert await rows.of("SELECT dead_letters FROM inbox_sequence") == [(0,)]


async def fill_with_waiting(database: Database) -> None:
    """Insert dead letters that wait for operators, and blocked ones, as if from days of a broken handler."""
    await execute(database.sessions, FILL, consumer=CONSUMER, waiting=WAITING)
    await execute_as_owner(database.sessions, "ANALYZE dead_letter")


async def fill_with_retried(database: Database) -> None:
    """Insert a key whose dead letters are past their retention: the first waits for its retry and blocks the others."""
    parameters = {"consumer": CONSUMER, "waiting": WAITING // 10, "retention": RETENTION}
    await execute(database.sessions, FILL_PAST_RETENTION, **parameters)
    await execute_as_owner(database.sessions, "ANALYZE dead_letter")


async def test_waiting_dead_letters_cost_the_drain_and_the_expiry_nothing(database: Database) -> None:
    await fill_with_waiting(database)
    await fill_with_retried(database)
    async with database.sessions.begin() as session:
        read = await count_reads(session, "dead_letter")
        assert await keys_to_drain(session, consumers=[CONSUMER], limit=100) == []
        assert await read() <= 10
    before = datetime.now(UTC) - RETENTION
    async with database.sessions.begin() as session:
        read = await count_reads(session, "dead_letter")
        assert await waiting_too_long(session, before=before, consumers=[CONSUMER], limit=100) == []
        assert await read() <= 10


async def test_a_page_of_the_drain_reads_no_more_rows_than_it_returns(database: Database) -> None:
    await fill_with_waiting(database)
    await execute(database.sessions, "UPDATE dead_letter SET next_try_at = now() - id * interval '1 second'")
    await execute_as_owner(database.sessions, "ANALYZE dead_letter")
    async with database.sessions.begin() as session:
        read = await count_reads(session, "dead_letter")
        keys = await keys_to_drain(session, consumers=[CONSUMER], limit=100)
        assert len(keys) == 100
        assert keys[0] == ConsumerKey(CONSUMER, "users", str((WAITING - 1) % 1000))
        assert await read() <= 200
