"""The migrations of the orders service."""

from pathlib import Path

import services.orders
from services.orders.models import Base
from services.orders.settings import Settings
from shared.migrations.runner import Migrations


def migrations_of(settings: Settings) -> Migrations:
    folder = Path(services.orders.__file__).parent / "migrations"
    return Migrations(folder=folder, metadata=Base.metadata, database_url=settings.database_url)


async def test_the_migrations_create_what_the_models_declare(settings: Settings) -> None:
    await migrations_of(settings).check()


async def test_the_migrations_run_down_and_up_again(settings: Settings) -> None:
    migrations = migrations_of(settings)
    await migrations.downgrade("base")
    await migrations.upgrade()
    await migrations.check()
