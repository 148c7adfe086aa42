"""While the database is away or cuts, requests are answered 503; the same one with its key then has its effect once."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.engine import make_url

from services.orders.settings import Settings
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.database_outages import cut_connections, refusing_connections
from tests.harness.databases import DatabaseFactory
from tests.orders.shop import CUSTOMER, Shop, code_of

UNAVAILABLE = (503, "database_unavailable")


@pytest.fixture
async def database_url(database_factory: DatabaseFactory) -> str:
    """Straight to the server."""
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
    """The service's way to its database leads through the proxy."""
    proxied = make_url(database_url).set(host="127.0.0.1", port=proxy.port)
    return settings.model_copy(update={"database_url": proxied.render_as_string(hide_password=False)})


async def test_an_order_whose_commit_was_not_confirmed_is_there_once_after_the_same_request(
    shop: Shop, proxy: CuttingProxy
) -> None:
    await shop.stock_up("A", stock=100)
    proxy.arm()

    first = await shop.place(("A", 2), key="key-1")
    second = await shop.place(("A", 2), key="key-1")

    assert (code_of(first), proxy.cuts) == (UNAVAILABLE, 1)
    assert (second.status_code, second.headers.get("idempotency-replayed")) == (201, "true")
    assert await shop.stock("A") == (100, 2)


async def test_an_order_that_never_reached_the_database_is_placed_by_the_same_request(
    shop: Shop, database_url: str, postgres_admin_url: str
) -> None:
    await shop.stock_up("A", stock=100)
    async with refusing_connections(postgres_admin_url, database_url):
        first = await shop.place(("A", 2), key="key-1")

    second = await shop.place(("A", 2), key="key-1")

    assert code_of(first) == UNAVAILABLE
    assert (second.status_code, second.headers.get("idempotency-replayed")) == (201, None)
    assert await shop.stock("A") == (100, 2)


async def test_connections_that_were_cut_between_requests_are_nobodys_trouble(
    shop: Shop, database_url: str, postgres_admin_url: str
) -> None:
    await shop.stock_up("A")
    await cut_connections(postgres_admin_url, database_url)
    assert (await shop.place(("A", 1), user_id=CUSTOMER)).status_code == 201
