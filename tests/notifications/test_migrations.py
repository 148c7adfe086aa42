"""The migrations of the notifications service."""

from pathlib import Path

import asyncpg

import services.notifications
from services.notifications.models import Base
from shared.database import dsn_of
from shared.migrations.runner import Migrations


def migrations_of(database_url: str) -> Migrations:
    folder = Path(services.notifications.__file__).parent / "migrations"
    return Migrations(folder=folder, metadata=Base.metadata, database_url=database_url)


async def tables_in(database_url: str) -> set[str]:
    connection = await asyncpg.connect(dsn_of(database_url))
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()
    return {row["tablename"] for row in rows}


async def test_the_migrations_create_what_the_models_declare(database_url: str) -> None:
    await migrations_of(database_url).check()


async def test_the_migrations_run_down_and_up_again(database_url: str) -> None:
    migrations = migrations_of(database_url)
    tables = {"recipient", "notification", "delivery"}

    await migrations.downgrade("0001")
    assert not tables & await tables_in(database_url)

    await migrations.upgrade()
    assert tables <= await tables_in(database_url)
    await migrations.check()
