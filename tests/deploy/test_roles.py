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
WRONG_PRIVILEGES = """
    SELECT relname, privilege, CASE WHEN is_needed THEN 'is missing' ELSE 'is not needed' END
    FROM pg_class, (VALUES
        ('r', 'SELECT', true), ('r', 'INSERT', true), ('r', 'UPDATE', true), ('r', 'DELETE', true),
        ('r', 'TRUNCATE', false), ('r', 'REFERENCES', false), ('r', 'TRIGGER', false), ('r', 'MAINTAIN', false),
        ('S', 'USAGE', true), ('S', 'UPDATE', false)
    ) AS p (kind, privilege, is_needed)
    WHERE relnamespace = 'public'::regnamespace AND CASE
        WHEN kind = 'S' AND relkind = 'S' THEN has_sequence_privilege(oid, privilege) <> is_needed
        WHEN kind = 'r' AND relkind IN ('r', 'p') THEN has_table_privilege(oid, privilege) <> is_needed
    END
"""
"""Privileges on tables, also partitioned ones (kind `p`), and on sequences. Given several, the functions of PostgreSQL
ask whether a role has any of them."""


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
    assert await connection.fetch(WRONG_PRIVILEGES) == []
    await connection.close()
