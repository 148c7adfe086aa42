"""A lease has one holder: kept while it is renewed, lost to whoever takes it after its end, given back at once."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TypeAlias

import asyncpg
import pytest

from shared.database import dsn_of
from shared.messaging.outbox.lease import Lease

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(dsn_of(database_url))
    yield opened
    await opened.close()


def lease_of(owner: str) -> Lease:
    """Of the test's shard, and long enough for a busy machine."""
    return Lease(shard=0, owner=owner, duration=timedelta(minutes=5))


async def age(connection: Connection, lease: Lease, by: timedelta) -> None:
    """Move the lease into the past, for the database and for its holder."""
    await connection.execute("UPDATE relay_lease SET expires_at = expires_at - $1::interval", by)
    lease._renewed_at -= by.total_seconds()


async def seconds_left(connection: Connection) -> float:
    left: timedelta = await connection.fetchval("SELECT expires_at - clock_timestamp() FROM relay_lease")
    return left.total_seconds()


async def test_a_lease_is_renewed_under_its_epoch_once_a_third_of_it_has_gone(connection: Connection) -> None:
    lease = lease_of("first")
    assert await lease.hold(connection)
    await age(connection, lease, timedelta(minutes=1))
    assert await lease.hold(connection)
    assert await seconds_left(connection) <= 4 * 60
    await age(connection, lease, timedelta(minutes=1))
    assert await lease.hold(connection)
    assert await seconds_left(connection) > 4 * 60
    assert lease.epoch == 1


async def test_whoever_takes_it_after_its_end_has_the_next_epoch_and_its_old_holder_loses_it(
    connection: Connection,
) -> None:
    first, second = lease_of("first"), lease_of("second")
    assert await first.hold(connection)
    assert not await second.hold(connection)
    await age(connection, first, first.duration)
    assert await second.hold(connection)
    assert not await first.hold(connection)
    assert (first.is_held, second.is_held, second.epoch) == (False, True, 2)


async def test_a_lease_that_is_released_is_free_at_once(connection: Connection) -> None:
    first, second = lease_of("first"), lease_of("second")
    assert await first.hold(connection)
    await first.release(connection)
    assert not first.is_held
    assert await second.hold(connection)


async def test_a_process_that_lost_its_connection_takes_its_own_lease_again_at_once(connection: Connection) -> None:
    lease = lease_of("first")
    assert await lease.hold(connection)
    lease.lose()
    assert await lease.hold(connection)
    assert lease.epoch == 2


async def test_an_older_epoch_of_the_same_owner_releases_nothing(connection: Connection) -> None:
    lease = lease_of("first")
    assert await lease.hold(connection)
    await connection.execute("UPDATE relay_lease SET epoch = epoch + 1")
    await lease.release(connection)
    assert await seconds_left(connection) > 0
