"""The relay's query begins behind the moved rows, and still finds every row that commits late or is resent."""

import asyncio
from collections.abc import Callable

import asyncpg

from shared.connection_urls import dsn_of
from shared.database import Database
from shared.ids import new_id
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.relay import Relay
from shared.messaging.outbox.watermark import FULL_SCAN_INTERVAL_SECONDS, Watermark
from tests.harness.rows import Rows
from tests.harness.running import running
from tests.harness.waiting import until
from tests.shared.effects import credit_reserved

INSERT = """
    INSERT INTO outbox (shard, event_id, topic, key, sequence, type, source, dataschema, occurred_at, payload)
    SELECT 0, gen_random_uuid(), 'users', $1 || n, 1, 'user.updated', 'urn:orderly:test', 'urn:test', now(), '{}'
    FROM generate_series(1, $2) AS n
"""
ENTRIES_READ = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'pk_outbox'"
MANY = 20_000
POLLS = 20


async def moved(rows: Rows, *, events: int) -> None:
    """Wait until so many events are moved."""

    async def is_moved() -> bool:
        return await rows.count("outbox_sent") == events

    await until(is_moved, seconds=FULL_SCAN_INTERVAL_SECONDS / 2, what=f"{events} events are moved")


async def move_events(database: Database, relay: Relay, *, first: int, last: int) -> None:
    """Record events one by one, and let the relay move each; afterwards its watermark may rise."""
    for number in range(first, last + 1):
        async with database.sessions.begin() as session:
            record(session, credit_reserved())
        relay.wake()
        await moved(Rows(database.sessions), events=number)
        relay.wake()
        await asyncio.sleep(0.05)


async def test_an_event_that_commits_late_is_sent_although_later_ones_were_moved(
    database: Database, database_url: str, relay_of: Callable[..., Relay]
) -> None:
    relay, late = relay_of(), await asyncpg.connect(dsn_of(database_url))
    async with running(relay):
        async with late.transaction():
            await late.execute(INSERT, f"late-{new_id()}", 1)
            await move_events(database, relay, first=1, last=5)
        await moved(Rows(database.sessions), events=6)
    await late.close()


async def test_a_held_snapshot_does_not_make_the_polls_walk_moved_rows(
    database: Database, database_url: str, relay_of: Callable[..., Relay]
) -> None:
    relay, rows = relay_of(), Rows(database.sessions)
    snapshot, other = await asyncpg.connect(dsn_of(database_url)), await asyncpg.connect(dsn_of(database_url))
    async with running(relay), snapshot.transaction(isolation="repeatable_read"):
        await snapshot.execute("SELECT FROM outbox")
        await other.execute(INSERT, "moved-", MANY)
        relay.wake()
        await moved(rows, events=MANY)

        async def polls_are_short() -> bool:
            # The relay's backend reports its statistics at most once a second.
            before = await other.fetchval(ENTRIES_READ)
            for _ in range(POLLS):
                relay.wake()
                await asyncio.sleep(0.1)
            read: int = await other.fetchval(ENTRIES_READ) - before
            return 0 < read < POLLS * MANY / 10

        # At first a transaction of another test may hold the watermark back.
        await until(polls_are_short, what="a poll reads few index entries")
    await snapshot.close()
    await other.close()


def moved_up_to(row_id: int, *, xid: int) -> Watermark:
    """Return a watermark after one move."""
    watermark = Watermark()
    watermark.moved(row_id, xid=xid, resends=0)
    return watermark


def test_the_watermark_rises_once_older_transactions_have_ended_and_a_query_found_nothing_below() -> None:
    watermark = moved_up_to(10, xid=100)
    watermark.observe(oldest_xid=100)
    watermark.fetched(None)
    assert watermark.next_after() == 0
    watermark.observe(oldest_xid=101)
    watermark.fetched(9)
    assert watermark.next_after() == 0
    watermark.fetched(11)
    assert watermark.next_after() == 10


def test_the_last_of_many_moves_becomes_the_watermark_without_another_one() -> None:
    watermark = moved_up_to(10, xid=100)
    for row_id, xid in ((30, 101), (20, 102)):
        watermark.moved(row_id, xid=xid, resends=0)
    watermark.observe(oldest_xid=101)
    watermark.fetched(None)
    assert watermark.next_after() == 10
    watermark.observe(oldest_xid=102)
    watermark.fetched(None)
    assert watermark.next_after() == 10
    watermark.observe(oldest_xid=103)
    watermark.fetched(None)
    assert watermark.next_after() == 30


def test_a_resend_lets_the_query_begin_at_zero() -> None:
    watermark = moved_up_to(10, xid=100)
    watermark.observe(oldest_xid=101)
    watermark.fetched(None)
    watermark.moved(3, xid=102, resends=1)
    assert (watermark.next_after(), watermark.resends) == (0, 1)
