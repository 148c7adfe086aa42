"""Requests while the database is unavailable: they get a 503, and a repeat with the same key has one effect."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.engine import make_url

from deploy.local.cutting_proxy import CuttingProxy
from services.orders.settings import Settings
from tests.harness.database_outages import cut_connections, refusing_connections
from tests.harness.databases import DatabaseFactory
from tests.harness.problems import problem
from tests.orders.service import CUSTOMER, OrdersService

UNAVAILABLE = (503, "database_unavailable")


@pytest.fixture
async def database_url(database_factory: DatabaseFactory) -> str:
    """The URL that leads directly to the server."""
    return await database_factory("orders")


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[CuttingProxy]:
    port = make_url(database_url).port
    assert port is not None
    opened = CuttingProxy(target_port=port)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def settings(settings: Settings, database_url: str, proxy: CuttingProxy) -> Settings:
    """Settings with which the service connects through the proxy."""
    proxied = make_url(database_url).set(host="127.0.0.1", port=proxy.port)
    return settings.model_copy(update={"database_url": proxied.render_as_string(hide_password=False)})


async def test_an_order_whose_commit_was_not_confirmed_is_placed_once(
    service: OrdersService, proxy: CuttingProxy
) -> None:
    await service.add_product("A", stock=100)
    proxy.arm()

    first = await service.post_order(("A", 2), key="key-1")
    second = await service.post_order(("A", 2), key="key-1")

    assert (problem(first), proxy.cuts) == (UNAVAILABLE, 1)
    assert (second.status_code, second.headers.get("idempotency-replayed")) == (201, "true")
    assert await service.stock("A") == (100, 2)


async def test_an_order_that_did_not_reach_the_database_is_placed_by_a_repeat(
    service: OrdersService, database_url: str, postgres_admin_url: str
) -> None:
    await service.add_product("A", stock=100)
    async with refusing_connections(postgres_admin_url, database_url):
        first = await service.post_order(("A", 2), key="key-1")

    second = await service.post_order(("A", 2), key="key-1")

    assert problem(first) == UNAVAILABLE
    assert (second.status_code, second.headers.get("idempotency-replayed")) == (201, None)
    assert await service.stock("A") == (100, 2)


async def test_connections_cut_between_requests_are_replaced(
    service: OrdersService, database_url: str, postgres_admin_url: str
) -> None:
    await service.add_product("A")
    await cut_connections(postgres_admin_url, database_url)
    assert (await service.post_order(("A", 1), user_id=CUSTOMER)).status_code == 201
