"""A database with the messaging tables and one table of effects, and a small service made of real parts."""

from collections.abc import AsyncIterator, Callable

import pytest
import sqlalchemy as sa

from shared.database import Database, open_database
from tests.databases import DatabaseFactory
from tests.shared.messaging.scenario import EFFECT_TABLE


@pytest.fixture
async def database_url(database_factory: DatabaseFactory) -> str:
    """A fresh database with what every service has."""
    return await database_factory("users")


@pytest.fixture
async def open_service(database_url: str) -> AsyncIterator[Callable[..., Database]]:
    """`open_service(on_events_committed=...)`: a database as a service opens it, closed after the test."""
    opened: list[Database] = []

    def open_(on_events_committed: Callable[[], None] | None = None) -> Database:
        database = open_database(database_url, service="test", pool_size=10, on_events_committed=on_events_committed)
        opened.append(database)
        return database

    yield open_
    for database in opened:
        await database.close()


@pytest.fixture
async def database(open_service: Callable[..., Database]) -> Database:
    """The database without a relay."""
    database = open_service()
    async with database.sessions.begin() as session:
        await session.execute(sa.text(EFFECT_TABLE))
    return database
