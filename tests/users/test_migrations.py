"""The migrations of the users service."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

import services.users
from services.users.models import Base
from shared.migrations.runner import Migrations
from tests.harness.databases import DatabaseFactory

FOLDER = Path(services.users.__file__).parent / "migrations"
CONSTRAINTS = sa.text("""
    SELECT conrelid::regclass::text AS on_table, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text = ANY(:tables)
    ORDER BY 1, 2
""")
TABLES = ["user_account", "user_session", "refresh_token", "credit_account", "credit_reservation"]


async def constraints(url: str, *, create: bool = False) -> list[tuple[str, ...]]:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        if create:
            await connection.run_sync(Base.metadata.create_all)
        found = [tuple(row) for row in await connection.execute(CONSTRAINTS, {"tables": TABLES})]
    await engine.dispose()
    return found


async def test_the_migrations_create_what_the_models_declare(database_factory: DatabaseFactory) -> None:
    migrated = Migrations(FOLDER, Base.metadata, await database_factory("users"))

    await migrated.check()

    # Alembic does not compare CHECK constraints, so compare all constraints with those that the models create.
    expected = await constraints(await database_factory(), create=True)
    assert await constraints(migrated.database_url) == expected
    assert len(expected) > 15


async def test_the_migrations_run_down_and_up_again(database_factory: DatabaseFactory) -> None:
    migrated = Migrations(FOLDER, Base.metadata, await database_factory("users"))
    before = await constraints(migrated.database_url)

    await migrated.downgrade("0001")
    assert await constraints(migrated.database_url) == []
    await migrated.downgrade("base")
    await migrated.upgrade()

    assert await constraints(migrated.database_url) == before
    await migrated.check()
