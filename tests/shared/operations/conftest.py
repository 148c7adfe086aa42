"""A database with the messaging tables and a table of effects, and keys that stand still in it."""

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from shared.database import Database, open_database
from tests.harness.databases import DatabaseFactory
from tests.shared.messaging.scenario import EFFECT_TABLE


@pytest.fixture
async def database_url(database_factory: DatabaseFactory) -> str:
    """A fresh database with what every service has."""
    return await database_factory("users")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """As a service opens it."""
    opened = open_database(database_url, service="test", pool_size=10)
    async with opened.sessions.begin() as session:
        await session.execute(sa.text(EFFECT_TABLE))
    yield opened
    await opened.close()
