"""The metrics of the database come from one bounded statement, also while the loops around it fail."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import sqlalchemy as sa
from prometheus_client import REGISTRY
from sqlalchemy import exc

from shared.connection_urls import dsn_of
from shared.database import Database, open_database
from shared.database_measurements import OLDEST
from shared.measurements import MAX_COUNTED, Measurements
from shared.messaging.measurements import messaging_measurements
from shared.messaging.outbox.outbox import record
from tests.harness.databases import DatabaseFactory, execute_as_owner
from tests.harness.running import running
from tests.harness.statements import execute
from tests.harness.waiting import until
from tests.shared.effects import credit_reserved

POOL_SIZE = 1
MEASURED = {"consumer": "test.measured", "reason": "invalid"}
FILL_OUTBOX = """
    INSERT INTO outbox (shard, event_id, topic, key, sequence, type, source, dataschema, occurred_at, payload)
    SELECT 0, gen_random_uuid(), 'users', n::text, 1, 'user.updated', 'urn:test', 'urn:test', now(), ''
    FROM generate_series(1, :count) AS n
"""
FILL_DEAD_LETTERS = """
    INSERT INTO dead_letter (consumer, topic, partition, "offset", key, headers, payload, reason)
    SELECT 'test.measured', 'users', 0, n, 'k', '{}', '', 'invalid' FROM generate_series(1, :count) AS n
"""


@pytest.fixture
async def database(database_factory: DatabaseFactory) -> AsyncIterator[Database]:
    opened = open_database(await database_factory("users"), service="test", pool_size=POOL_SIZE)
    yield opened
    await opened.close()


def value_of(metric: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(metric, labels)


def measurements_of(database: Database) -> Measurements:
    return Measurements(messaging_measurements(), sessions=database.sessions, interval_seconds=0.05)


async def test_the_outbox_and_the_dead_letters_are_measured(database: Database) -> None:
    measurements = measurements_of(database)
    await measurements.measure()
    assert (value_of("outbox_waiting_events"), value_of("outbox_oldest_event_seconds")) == (0, 0)
    async with database.sessions.begin() as session:
        for _ in range(2):
            record(session, credit_reserved())
    await execute(database.sessions, "UPDATE outbox SET occurred_at = now() - interval '90 s'")
    await execute(database.sessions, FILL_DEAD_LETTERS, count=3)
    # Those of strangers block no key.
    await execute(database.sessions, FILL_DEAD_LETTERS.replace("n, 'k'", "n + 3, n::text"), count=2)
    await execute(database.sessions, "UPDATE dead_letter SET reason = 'foreign' WHERE key = '1'")
    await measurements.measure()
    assert value_of("outbox_waiting_events") == 2
    assert 90 <= (value_of("outbox_oldest_event_seconds") or 0) < 150
    assert value_of("dead_letters_unresolved", **MEASURED) == 4
    assert value_of("dead_letters_unresolved", consumer="test.measured", reason="foreign") == 1
    assert value_of("dead_letters_blocked_keys", consumer="test.measured") == 2
    await execute(database.sessions, "UPDATE dead_letter SET resolution = 'discarded', resolved_at = now()")
    await measurements.measure()
    assert value_of("dead_letters_unresolved", **MEASURED) == 0
    assert value_of("dead_letters_blocked_keys", consumer="test.measured") == 0


async def test_the_oldest_transaction_and_the_oldest_xmin_are_measured(database: Database) -> None:
    measurements = Measurements([OLDEST, *messaging_measurements()], sessions=database.sessions)
    other = await asyncpg.connect(dsn_of(database.engine.url.render_as_string(hide_password=False)))

    async def is_idle() -> bool:
        # Autovacuum has a transaction, too.
        await measurements.measure()
        return value_of("database_oldest_transaction_seconds") == 0

    try:
        await until(is_idle, what="there is no transaction")
        async with other.transaction(isolation="repeatable_read"):
            await other.execute("SELECT count(*) FROM outbox")
            for shard in range(5):
                await execute(database.sessions, "INSERT INTO outbox_resend VALUES (:shard, 1)", shard=shard)
            await measurements.measure()
            assert 0 < (value_of("database_oldest_transaction_seconds") or 0) < 60
            assert (value_of("database_oldest_xmin_transactions", holder="session") or 0) >= 5
    finally:
        await other.close()
    assert value_of("database_oldest_xmin_transactions", holder="prepared") == 0


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
    for statement in (FILL_OUTBOX, FILL_DEAD_LETTERS):
        await execute(database.sessions, statement, count=MAX_COUNTED + 1)
    await measurements_of(database).measure()
    assert value_of("outbox_waiting_events") == MAX_COUNTED
    assert value_of("dead_letters_unresolved", **MEASURED) == MAX_COUNTED


async def test_the_pool_of_connections_is_measured(database: Database) -> None:
    before = value_of("database_pool_timeouts_total") or 0
    assert value_of("database_pool_max_connections") == POOL_SIZE
    assert value_of("database_pool_in_use_connections") == 0
    async with database.sessions() as session:
        await session.execute(sa.text("SELECT 1"))
        assert value_of("database_pool_in_use_connections") == 1
        with pytest.raises(exc.TimeoutError):
            await database.ping()
    assert value_of("database_pool_timeouts_total") == before + 1
    assert value_of("database_pool_waiting") == 0
