"""A pooled connection that died is replaced before it is used, and a ping of the database tells whether it answers."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.engine import make_url

from deploy.local.cutting_proxy import CuttingProxy
from shared.connection_errors import CONNECTION_ERRORS
from shared.database import Database, open_database
from shared.patches.sqlalchemy_driver import BEGIN_TIMEOUT_SECONDS
from tests.harness.database_outages import cut_connections
from tests.harness.rows import Rows


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[CuttingProxy]:
    proxy = CuttingProxy(target_port=make_url(database_url).port or 5432)
    await proxy.open()
    yield proxy
    await proxy.close()


@pytest.fixture
async def proxied(database_url: str, proxy: CuttingProxy) -> AsyncIterator[Database]:
    """The database behind the proxy, with one connection that was used."""
    url = make_url(database_url).set(port=proxy.port).render_as_string(hide_password=False)
    opened = open_database(url, service="test", pool_size=1)
    await opened.ping()
    yield opened
    await opened.close()


async def test_a_connection_that_the_server_closed_is_replaced(
    database: Database, database_url: str, postgres_admin_url: str
) -> None:
    await database.ping()
    await cut_connections(postgres_admin_url, database_url)
    assert await Rows(database.sessions).of("SELECT 1") == [(1,)]


async def test_a_connection_whose_server_vanished_is_replaced_after_a_time_out(
    proxied: Database, proxy: CuttingProxy
) -> None:
    proxy.stall()
    async with asyncio.timeout(BEGIN_TIMEOUT_SECONDS + 15):
        assert await Rows(proxied.sessions).of("SELECT 1") == [(1,)]


async def test_a_ping_fails_without_a_server(proxied: Database, proxy: CuttingProxy) -> None:
    await proxied.ping()
    await proxy.close()
    with pytest.raises(CONNECTION_ERRORS):
        await proxied.ping()


async def test_a_ping_fails_while_the_server_is_silent(proxied: Database, proxy: CuttingProxy) -> None:
    proxy.stall()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await proxied.ping()
