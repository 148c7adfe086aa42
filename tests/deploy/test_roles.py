"""A service's own role reads and writes rows, and can do nothing else to its database."""

import asyncpg
import pytest

from deploy.local.postgres import owner_of
from shared.connection_urls import dsn_of
from tests.architecture.source import SERVICES
from tests.harness.databases import DatabaseFactory

FORBIDDEN = (
    "CREATE TABLE mine (id int)",
    "CREATE TEMPORARY TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE EXTENSION hstore",
    "TRUNCATE outbox",
    "DROP TABLE outbox",
    "ALTER TABLE outbox ADD mine int",
    "CREATE TRIGGER mine BEFORE INSERT ON outbox EXECUTE FUNCTION tsvector_update_trigger()",
)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_has_no_more_than_the_rows_of_its_tables(
    database_factory: DatabaseFactory, service: str
) -> None:
    connection = await asyncpg.connect(dsn_of(await database_factory(service)))
    for statement in FORBIDDEN:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    owners = await connection.fetch("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert [owner for (owner,) in owners] == [owner_of(service)]
    unusable = await connection.fetch("""
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND CASE relkind
            WHEN 'S' THEN NOT has_sequence_privilege(oid, 'USAGE')
            WHEN 'r' THEN NOT has_table_privilege(oid, 'SELECT, INSERT, UPDATE, DELETE')
        END
    """)
    assert unusable == []
    await connection.close()
