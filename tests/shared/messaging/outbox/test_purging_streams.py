"""A key whose stream was purged continues with a higher number, whatever runs beside the purge."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from shared.connection_urls import dsn_of
from shared.database import Database
from shared.ids import new_id
from shared.messaging.outbox import outbox
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.streams import STREAM_RETENTION, purge_streams
from tests.harness.databases import until_waiting
from tests.harness.rows import Rows
from tests.shared.effects import credit_reserved

IDLE_DAYS = STREAM_RETENTION.days + 1
KEYS = 8
WRITERS = 4
PURGED = 40


@pytest.fixture
def rows(database: Database) -> Rows:
    return Rows(database.sessions)


async def record_events(database: Database, user_id: UUID, *, events: int = 1) -> None:
    async with database.sessions.begin() as session:
        for _ in range(events):
            record(session, credit_reserved(user_id))


async def let_pass(database: Database, *, days: int) -> None:
    """Let time pass for all streams."""
    async with database.sessions.begin() as session:
        await session.execute(
            sa.text("UPDATE event_stream SET moved_on = moved_on - CAST(:days AS integer)"), {"days": days}
        )


async def purge(database: Database, *, max_wait_seconds: float = 60) -> int:
    return await purge_streams(
        database.sessions, today=datetime.now(UTC).date(), max_wait_seconds=max_wait_seconds, round_rows=3
    )


async def sequences(rows: Rows, user_id: UUID) -> list[int]:
    """Return the sequences of a key's events, in the order of their commits."""
    found = await rows.of("SELECT sequence FROM outbox WHERE key = :key ORDER BY id", key=str(user_id))
    return [sequence for (sequence,) in found]


async def test_a_key_that_returns_after_the_purge_continues_with_a_higher_number(
    database: Database, rows: Rows
) -> None:
    silent, other, new = new_id(), new_id(), new_id()
    await record_events(database, silent, events=5)
    await record_events(database, other, events=2)
    await let_pass(database, days=IDLE_DAYS)
    assert await purge(database) == 2
    assert await rows.count("event_stream") == 0
    for user_id in (silent, other, new):
        await record_events(database, user_id, events=2)
    await record_events(database, silent)
    assert await sequences(rows, silent) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert await sequences(rows, other) == [1, 2, 6, 7]
    assert await sequences(rows, new) == [6, 7]


async def test_a_key_in_use_is_kept_and_continues_by_one(database: Database, rows: Rows) -> None:
    user_id = new_id()
    await record_events(database, user_id)
    await let_pass(database, days=STREAM_RETENTION.days)
    assert await purge(database) == 0
    await let_pass(database, days=1)
    await record_events(database, user_id)
    assert await purge(database) == 0
    await record_events(database, user_id)
    assert await sequences(rows, user_id) == [1, 2, 3]


async def test_a_purge_takes_any_number_of_keys_and_leaves_the_floors_when_repeated(
    database: Database, rows: Rows
) -> None:
    for _ in range(10):
        await record_events(database, new_id(), events=2)
    await let_pass(database, days=IDLE_DAYS)
    assert [await purge(database), await purge(database)] == [10, 0]
    assert await rows.of("SELECT topic, sequence FROM event_stream_floor") == [("users", 2)]


@asynccontextmanager
async def statement_in_progress(url: str, user_id: UUID) -> AsyncIterator["asyncio.Task[object]"]:
    """Execute the outbox's statement, and hold it after it took its snapshot and before it looks for its key's stream.

    The transaction has no id then: it has written nothing.
    """
    gate, writer = await asyncpg.connect(dsn_of(url)), await asyncpg.connect(dsn_of(url))
    try:
        await gate.execute("SELECT pg_advisory_lock(4711)")
        held = outbox._INSERT.sql.replace(
            "FROM (SELECT topic, key, count(*) AS events FROM recorded GROUP BY topic, key) AS r",
            "FROM (SELECT topic, key, count(*) AS events FROM recorded, pg_advisory_xact_lock_shared(4711)"
            " GROUP BY topic, key) AS r",
        )
        assert held != outbox._INSERT.sql
        event = credit_reserved(user_id)
        arguments = outbox._INSERT.arguments(
            {
                "source": "urn:orderly:test",
                "shards": [0],
                "event_ids": [new_id()],
                "topics": [event.topic],
                "keys": [event.key],
                "types": [event.type],
                "dataschemas": ["urn:test"],
                "times": [datetime.now(UTC)],
                "traceparents": [None],
                "tracestates": [None],
                "payloads": [b"{}"],
            }
        )
        task = asyncio.create_task(writer.execute(held, *arguments))
        yield task
        await gate.execute("SELECT pg_advisory_unlock(4711)")
        await task
    finally:
        await gate.close()
        await writer.close()


async def test_a_statement_from_before_the_purge_never_uses_a_number_again(
    database: Database, database_url: str, rows: Rows
) -> None:
    user_id = new_id()
    await record_events(database, user_id, events=5)
    await let_pass(database, days=IDLE_DAYS)
    async with statement_in_progress(database_url, user_id):
        await until_waiting(database.sessions, transactions=1)
        with capture_logs() as logs:
            assert await purge(database, max_wait_seconds=0.5) == 0
        assert [line["event"] for line in logs] == ["event_stream_purge_postponed"]
    assert await sequences(rows, user_id) == [1, 2, 3, 4, 5, 6]
    assert await purge(database) == 0


async def test_a_transaction_without_a_snapshot_does_not_hold_up_the_purge(
    database: Database, database_url: str, rows: Rows
) -> None:
    user_id = new_id()
    await record_events(database, user_id, events=5)
    await let_pass(database, days=IDLE_DAYS)
    open_, later = await asyncpg.connect(dsn_of(database_url)), database.sessions()
    async with open_.transaction(), later:
        await open_.execute("SELECT FROM event_stream")
        record(later, credit_reserved(user_id))
        assert await purge(database) == 1
        await later.commit()
    await open_.close()
    assert await sequences(rows, user_id) == [1, 2, 3, 4, 5, 6]


async def test_a_repeatable_read_transaction_from_before_the_purge_holds_it_up(
    database: Database, database_url: str
) -> None:
    await record_events(database, new_id())
    await let_pass(database, days=IDLE_DAYS)
    old = await asyncpg.connect(dsn_of(database_url))
    async with old.transaction(isolation="repeatable_read"):
        await old.execute("SELECT FROM event_stream")
        assert await purge(database, max_wait_seconds=0) == 0
    await old.close()
    assert await purge(database) == 1


async def test_numbers_only_rise_while_writers_and_purges_run_at_once(database: Database, rows: Rows) -> None:
    user_ids = [new_id() for _ in range(KEYS)]
    purged, ageing = 0, asyncio.Lock()

    async def write(writer: int) -> None:
        number = writer
        while purged < PURGED:
            await record_events(database, user_ids[number % KEYS], events=1 + number % 2)
            number += 1

    async def purge_streams_of_all_keys() -> None:
        nonlocal purged
        while purged < PURGED:
            # One update of all streams at a time. Writers lock a single stream each, and purges wait for none, so that
            # nothing deadlocks.
            async with ageing:
                await let_pass(database, days=IDLE_DAYS)
            deleted = await purge(database)
            purged += deleted

    async with asyncio.timeout(60):
        await asyncio.gather(
            *(write(writer) for writer in range(WRITERS)), *(purge_streams_of_all_keys() for _ in range(2))
        )
    # A repeated number would violate a constraint; a lower one would only be seen here.
    for user_id in user_ids:
        found = await sequences(rows, user_id)
        assert found == sorted(set(found))
