"""Every table gets rows, and together they violate no invariant."""

from datetime import UTC, datetime

import asyncpg
import pytest
import sqlalchemy as sa

from deploy.audit.databases import connected
from deploy.audit.invariants import check
from services.notifications.models import Base as NotificationsBase
from services.orders.models import Base as OrdersBase
from services.users.models.declarative import Base as UsersBase
from shared.connection_urls import dsn_of
from tests.harness.databases import DatabaseFactory, as_owner
from tests.harness.service_table_rows import fill_tables

ROWS = 50
METADATA = {"users": UsersBase.metadata, "orders": OrdersBase.metadata, "notifications": NotificationsBase.metadata}
NOT_FILLED = {
    "outbox",
    "outbox_resend",
    "relay_lease",
    "event_stream_floor",
    "stream_generation",
    "topic_partitions",
    "overdue_order",
    "sealed_contact",
    "delivery_action",
    "delivery_attempt",
    "one_time_token",
    "passkey_challenge",
    "sign_in_challenge",
    "revoked_session",
    "signing_key",
}
"""Events in the outbox, sealed contacts, open links and challenges are not completed, and revocations last two hours;
the others have a row for each shard, topic, restore or key, or for what went wrong."""
JOB_QUEUE_TABLES = {"pgqueuer_log", "pgqueuer_statistics"}


async def counts_of(url: str, metadata: sa.MetaData) -> dict[str, int]:
    connection = await asyncpg.connect(dsn_of(url))
    counts = {
        table: await connection.fetchval(f'SELECT count(*) FROM "{table}"')  # noqa: S608 - names of the metadata
        for table in sorted(metadata.tables.keys() | JOB_QUEUE_TABLES)
    }
    await connection.close()
    return counts


@pytest.mark.parametrize("service", METADATA)
async def test_every_table_gets_at_least_the_requested_rows(service: str, database_factory: DatabaseFactory) -> None:
    url = await database_factory(service)
    await fill_tables(service, as_owner(url), rows=ROWS)
    counts = await counts_of(url, METADATA[service])
    assert {table for table, count in counts.items() if count < ROWS} == NOT_FILLED & counts.keys()


async def test_the_rows_violate_no_invariant(database_factory: DatabaseFactory) -> None:
    urls = {service: await database_factory(service) for service in METADATA}
    for service, url in urls.items():
        await fill_tables(service, as_owner(url), rows=ROWS)
    async with connected(urls) as databases:
        findings = await check(databases, at_rest=False)
    assert [finding.violations for finding in findings] == [[] for _ in findings]


async def test_no_row_is_due_to_be_purged(database_factory: DatabaseFactory) -> None:
    url = await database_factory("users")
    await fill_tables("users", as_owner(url), rows=ROWS)
    connection = await asyncpg.connect(dsn_of(url))
    first_end = await connection.fetchval("""
        SELECT least(min(expires_at), (SELECT min(expires_at) FROM refresh_token),
                     (SELECT min(created_at) + interval '24 hours' FROM idempotency_key))
        FROM user_session
    """)
    await connection.close()
    assert first_end > datetime.now(UTC)
