"""The metrics of the database come from one bounded statement, also while the loops around it fail."""

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY
from sqlalchemy import exc

from shared.database import Database, open_database
from shared.measurements import Measurement, Measurements
from shared.messaging.measurements import messaging_measurements
from shared.messaging.outbox.outbox import record
from tests.harness.databases import DatabaseFactory, execute_as_owner
from tests.harness.running import running
from tests.harness.waiting import until
from tests.shared.effects import credit_reserved

LEFT = 1


@pytest.fixture
async def database(database_factory: DatabaseFactory) -> AsyncIterator[Database]:
    opened = open_database(await database_factory("users"), service="test", pool_size=LEFT)
    yield opened
    await opened.close()


def value_of(metric: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(metric, labels)


def measurements_of(database: Database) -> Measurements:
    return Measurements(messaging_measurements(), sessions=database.sessions, interval_seconds=0.05)


async def execute(database: Database, statement: str) -> None:
    async with database.sessions.begin() as session:
        await session.execute(sa.text(statement))


async def test_the_outbox_and_the_dead_letters_are_measured(database: Database) -> None:
    measurements = measurements_of(database)
    await measurements.measure()
    assert (value_of("outbox_waiting_events"), value_of("outbox_oldest_event_seconds")) == (0, 0)
    async with database.sessions.begin() as session:
        for _ in range(2):
            record(session, credit_reserved())
    await execute(database, "UPDATE outbox SET occurred_at = now() - interval '90 s'")
    await execute(
        database,
        'INSERT INTO dead_letter (consumer, topic, partition, "offset", key, headers, payload, reason)'
        " SELECT 'test.measured', 'users', 0, n, 'k', '{}', '', 'invalid' FROM generate_series(1, 3) AS n",
    )
    await measurements.measure()
    assert value_of("outbox_waiting_events") == 2
    assert 90 <= (value_of("outbox_oldest_event_seconds") or 0) < 150
    labels = {"consumer": "test.measured", "reason": "invalid"}
    assert value_of("dead_letters_unresolved", **labels) == 3
    await execute(database, "UPDATE dead_letter SET resolution = 'discarded', resolved_at = now()")
    await measurements.measure()
    assert value_of("dead_letters_unresolved", **labels) == 0


async def test_measuring_goes_on_after_an_error(database: Database) -> None:
    measurements = measurements_of(database)

    async def fails() -> bool:
        return measurements.heartbeat._failing_since is not None

    async def has_recovered() -> bool:
        return measurements.heartbeat._failing_since is None

    async with running(measurements):
        await execute_as_owner(database.sessions, "ALTER TABLE outbox RENAME TO away")
        await until(fails, what="measuring fails")
        await execute_as_owner(database.sessions, "ALTER TABLE away RENAME TO outbox")
        await until(has_recovered, what="measuring works again")


async def test_counts_are_bounded(database: Database) -> None:
    found: list[int] = []
    rows = Measurement(
        "rows",
        "SELECT json_build_object('n', count(*)) FROM (SELECT FROM generate_series(1, 20000) LIMIT :max_counted) s",
        lambda value: found.append(value["n"]),
    )
    await Measurements([rows], sessions=database.sessions).measure()
    assert found == [10_000]


async def test_the_pool_of_connections_is_measured(database: Database) -> None:
    before = value_of("database_pool_timeouts_total") or 0
    assert value_of("database_pool_max_connections") == LEFT
    assert value_of("database_pool_in_use_connections") == 0
    async with database.sessions() as session:
        await session.execute(sa.text("SELECT 1"))
        assert value_of("database_pool_in_use_connections") == 1
        with pytest.raises(exc.TimeoutError):
            await database.ping()
    assert value_of("database_pool_timeouts_total") == before + 1
    assert value_of("database_pool_waiting") == 0
