"""A lease has one holder at a time: it renews the lease, loses it after expiry, or releases it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TypeAlias

import asyncpg
import pytest

from shared.connection_urls import dsn_of
from shared.messaging.outbox.lease import Lease

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(dsn_of(database_url))
    yield opened
    await opened.close()


def lease_of(owner: str) -> Lease:
    """Return a lease of the test's shard, long enough for a busy machine."""
    return Lease(shard=0, owner=owner, duration=timedelta(minutes=5))


async def age(connection: Connection, lease: Lease, by: timedelta) -> None:
    """Let time pass for the lease, in the database and in its holder."""
    await connection.execute("UPDATE relay_lease SET expires_at = expires_at - $1::interval", by)
    lease._renewed_at -= by.total_seconds()


async def seconds_left(connection: Connection) -> float:
    left: timedelta = await connection.fetchval("SELECT expires_at - clock_timestamp() FROM relay_lease")
    return left.total_seconds()


async def test_a_lease_is_renewed_once_a_third_of_it_has_passed_and_keeps_its_epoch(connection: Connection) -> None:
    lease = lease_of("first")
    assert await lease.hold(connection)
    await age(connection, lease, timedelta(minutes=1))
    assert await lease.hold(connection)
    assert await seconds_left(connection) <= 4 * 60
    await age(connection, lease, timedelta(minutes=1))
    assert await lease.hold(connection)
    assert await seconds_left(connection) > 4 * 60
    assert lease.epoch == 1


async def test_an_expired_lease_goes_to_another_owner_with_the_next_epoch(connection: Connection) -> None:
    first, second = lease_of("first"), lease_of("second")
    assert await first.hold(connection)
    assert not await second.hold(connection)
    await age(connection, first, first.duration)
    assert await second.hold(connection)
    assert not await first.hold(connection)
    assert (first.is_held, second.is_held, second.epoch) == (False, True, 2)


async def test_a_lease_that_a_wrong_clock_has_put_into_the_future_goes_to_another_owner(connection: Connection) -> None:
    first, second = lease_of("first"), lease_of("second")
    assert await first.hold(connection)
    await connection.execute("UPDATE relay_lease SET expires_at = expires_at + interval '10 minutes'")
    assert await second.hold(connection)
    await age(connection, first, timedelta(minutes=2))
    assert not await first.hold(connection)


async def test_a_released_lease_is_free_at_once(connection: Connection) -> None:
    first, second = lease_of("first"), lease_of("second")
    assert await first.hold(connection)
    await first.release(connection)
    assert not first.is_held
    assert await second.hold(connection)


async def test_an_owner_that_lost_its_connection_acquires_its_lease_again_at_once(connection: Connection) -> None:
    lease = lease_of("first")
    assert await lease.hold(connection)
    lease.lose()
    assert await lease.hold(connection)
    assert lease.epoch == 2


async def test_an_older_epoch_of_the_same_owner_does_not_release_the_lease(connection: Connection) -> None:
    lease = lease_of("first")
    assert await lease.hold(connection)
    await connection.execute("UPDATE relay_lease SET epoch = epoch + 1")
    await lease.release(connection)
    assert await seconds_left(connection) > 0
