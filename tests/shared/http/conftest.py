"""Fixtures for the tests of shared.http: a client of an application, access tokens, cache and database."""

import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from shared.cache import Cache, open_cache
from shared.connection_urls import dsn_of
from shared.http import idempotency
from tests.harness.databases import DatabaseFactory
from tests.shared.http.token_issuer import TokenIssuer


@pytest.fixture
def issuer() -> TokenIssuer:
    return TokenIssuer()


@pytest.fixture
async def cache(valkey_url: str) -> AsyncIterator[Cache]:
    opened = open_cache(valkey_url, prefix=uuid.uuid4().hex)
    yield opened
    await opened.close()


@pytest.fixture
async def sessions(database_factory: DatabaseFactory) -> AsyncIterator[async_sessionmaker[AsyncSession]]:
    """Sessions on a database with the idempotency table, and a table `thing` that actions write to."""
    url = await database_factory()
    connection = await asyncpg.connect(dsn_of(url))
    await connection.execute(idempotency.SCHEMA_UP)
    await connection.execute(
        "CREATE TABLE thing (id uuid PRIMARY KEY, name text NOT NULL, made_at timestamptz NOT NULL)"
    )
    await connection.close()
    engine = create_async_engine(url)
    yield async_sessionmaker(engine, expire_on_commit=False)
    await engine.dispose()
