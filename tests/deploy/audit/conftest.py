"""Fixtures: the databases of a small, undamaged system."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest

from deploy.audit.databases import SERVICES, Databases
from shared.connection_urls import dsn_of
from tests.deploy.audit.undamaged import UNDAMAGED
from tests.harness.databases import DatabaseFactory, as_owner


@pytest.fixture
async def urls(database_factory: DatabaseFactory) -> dict[str, str]:
    """The URLs of the databases, with the roles that the services have as they run."""
    return {service: await database_factory(service) for service in SERVICES}


@pytest.fixture
async def writable(urls: dict[str, str]) -> AsyncIterator[Databases]:
    """Yield connections that can damage the databases of a small, undamaged system."""
    async with AsyncExitStack() as stack:
        connections: dict[str, asyncpg.Connection[asyncpg.Record]] = {}
        for service, url in urls.items():
            connections[service] = await asyncpg.connect(dsn_of(as_owner(url)))
            stack.push_async_callback(connections[service].close)
            await connections[service].execute(UNDAMAGED[service])
        yield connections
