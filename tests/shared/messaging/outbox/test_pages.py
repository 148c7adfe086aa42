"""Acknowledged rows wait to be moved together, are not fetched again, and stay if the lease was lost."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.connection_urls import dsn_of
from shared.database import Database
from shared.messaging.outbox.lease import Lease
from shared.messaging.outbox.outbox import record
from shared.messaging.outbox.pages import MOVE_ROWS, LeaseLost, OutboxPages
from shared.messaging.outbox.publisher import Acknowledged
from tests.harness.rows import Rows
from tests.shared.effects import credit_reserved


@pytest.fixture
async def connection(database_url: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    opened = await asyncpg.connect(dsn_of(database_url))
    yield opened
    await opened.close()


async def pages_of(connection: "asyncpg.Connection[asyncpg.Record]", *, owner: str = "first") -> OutboxPages:
    """Return the pages of a relay that has just acquired the lease."""
    lease = Lease(shard=0, owner=owner)
    await connection.execute("UPDATE relay_lease SET expires_at = clock_timestamp() - interval '1 second'")
    assert await lease.hold(connection)
    return OutboxPages(connection, shard=0, lease=lease)


async def acknowledged(pages: OutboxPages) -> int:
    """Fetch a page and acknowledge it; return its number of rows."""
    rows = await pages.fetch(without_topics=[])
    pages.acknowledge([Acknowledged(row["id"], 0, number) for number, row in enumerate(rows)])
    return len(rows)


async def record_events(database: Database, count: int) -> None:
    async with database.sessions.begin() as session:
        for _ in range(count):
            record(session, credit_reserved())


async def test_acknowledged_rows_are_not_fetched_again_and_move_together(
    database: Database, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    pages = await pages_of(connection)
    await record_events(database, 2)
    assert [await acknowledged(pages), await acknowledged(pages)] == [2, 0]
    await record_events(database, 1)
    assert await acknowledged(pages) == 1
    assert pages.move_at
    assert await Rows(database.sessions).count("outbox_sent") == 0
    assert await pages.move() == 3
    assert await pages.move() == 0
    assert await Rows(database.sessions).count("outbox") == 0


async def test_half_a_page_is_moved_at_once(
    database: Database, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    pages = await pages_of(connection)
    await record_events(database, MOVE_ROWS)
    await acknowledged(pages)
    assert pages.move_at == 0


async def test_rows_whose_lease_was_lost_stay_for_the_next_leader(
    database: Database, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    pages = await pages_of(connection)
    await record_events(database, 2)
    await acknowledged(pages)
    successor = await pages_of(connection, owner="second")
    with pytest.raises(LeaseLost):
        await pages.move()
    assert await acknowledged(successor) == 2
    assert await successor.move() == 2


async def test_a_leader_that_was_replaced_fetches_nothing(
    database: Database, connection: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    former = await pages_of(connection)
    await record_events(database, 1)
    successor = await pages_of(connection, owner="second")
    assert await former.fetch(without_topics=[]) == []
    assert len(await successor.fetch(without_topics=[])) == 1
