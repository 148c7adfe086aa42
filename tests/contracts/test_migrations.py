"""The migrations of each service create what its models declare, and run down and up again."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from structlog.testing import capture_logs

from deploy.local.credentials import SERVICES
from shared.cli import migrations_of
from shared.connection_urls import dsn_of
from shared.migrations.runner import Migrations
from shared.settings import StorageSettings
from tests.harness.databases import DatabaseFactory, as_owner

CONSTRAINTS = sa.text("""
    SELECT conrelid::regclass::text AS on_table, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text = ANY(:tables)
    ORDER BY 1, 2
""")


@pytest.fixture(params=SERVICES)
async def migrations(request: pytest.FixtureRequest, database_factory: DatabaseFactory) -> Migrations:
    """The migrations of a service, and its migrated database."""
    url = as_owner(await database_factory(request.param))
    storage = StorageSettings.model_construct(database_url=url)
    return migrations_of(f"services.{request.param}", storage)


async def constraints(url: str, metadata: sa.MetaData, *, create: bool = False) -> list[tuple[str, ...]]:
    """Return the constraints of the tables that the metadata declare; `create` makes these tables first."""
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        if create:
            await connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
            await connection.run_sync(metadata.create_all)
        found = [tuple(row) for row in await connection.execute(CONSTRAINTS, {"tables": list(metadata.tables)})]
    await engine.dispose()
    return found


async def test_the_migrations_create_what_the_models_declare(
    migrations: Migrations, database_factory: DatabaseFactory
) -> None:
    await migrations.check()

    # Alembic does not compare CHECK constraints, so compare all constraints with those that the models create.
    empty_url = await database_factory()
    expected = await constraints(empty_url, migrations.metadata, create=True)
    assert await constraints(migrations.database_url, migrations.metadata) == expected
    assert {name[:3] for _, name, _ in expected} >= {"ck_", "fk_", "pk_"}


async def test_the_migrations_run_down_and_up_again(migrations: Migrations) -> None:
    before = await constraints(migrations.database_url, migrations.metadata)

    await migrations.downgrade("0001")
    after_the_first = await constraints(migrations.database_url, migrations.metadata)
    assert 0 < len(after_the_first) < len(before)
    await migrations.downgrade("base")
    assert await constraints(migrations.database_url, migrations.metadata) == []
    await migrations.upgrade()

    assert await constraints(migrations.database_url, migrations.metadata) == before
    await migrations.check()


async def test_a_migration_gives_up_a_lock_that_it_does_not_get(database_factory: DatabaseFactory) -> None:
    """Else later statements would wait behind the migration, for as long as the other transaction lasts."""
    url = as_owner(await database_factory("users"))
    migrations = migrations_of("services.users", StorageSettings.model_construct(database_url=url))
    engine = create_async_engine(url)
    async with engine.begin() as holder:
        await holder.execute(sa.text("LOCK TABLE user_account IN ACCESS SHARE MODE"))

        with pytest.raises(sa.exc.DBAPIError, match="lock timeout"):
            await asyncio.wait_for(migrations.downgrade("0001"), timeout=60)
    await engine.dispose()


async def test_the_migrations_of_an_older_version_leave_a_newer_schema_as_it_is(migrations: Migrations) -> None:
    """A deployment that brings the old version back runs its migrations too."""
    connection = await asyncpg.connect(dsn_of(migrations.database_url))
    await connection.execute("ALTER TABLE idempotency_key ADD COLUMN newer text")
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")

    with capture_logs() as logs:
        await migrations.upgrade()

    assert [entry["event"] for entry in logs] == ["schema_is_newer"]
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "9999"
    assert await connection.fetchval("SELECT count(newer) FROM idempotency_key") == 0
    await connection.close()


CONCURRENT_INDEX = """
from alembic import op

revision, down_revision = "9998", "{last}"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.create_index("ix_concurrent", "idempotency_key", ["route"], postgresql_concurrently=True)
"""


async def test_a_migration_can_build_an_index_concurrently(migrations: Migrations, tmp_path: Path) -> None:
    shutil.copytree(migrations.folder, tmp_path, dirs_exist_ok=True)
    last = max(path.name[:4] for path in migrations.folder.glob("*.py"))
    (tmp_path / "9998_index.py").write_text(CONCURRENT_INDEX.format(last=last))

    await replace(migrations, folder=tmp_path).upgrade()

    connection = await asyncpg.connect(dsn_of(migrations.database_url))
    assert await connection.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_concurrent'::regclass")
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "9998"
    await connection.close()


async def test_migrations_that_run_at_once_wait_for_each_other(migrations: Migrations) -> None:
    await migrations.downgrade("base")

    await asyncio.gather(migrations.upgrade(), migrations.upgrade(), migrations.upgrade())

    await migrations.check()
