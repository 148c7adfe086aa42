"""Fixtures: the orders service on real servers, without its background loops."""

from collections.abc import AsyncIterator

import pytest

from services.orders.app import create_app
from services.orders.settings import Settings
from shared.database import Database, open_database
from tests.harness.asgi import client_of
from tests.harness.databases import CONNECTIONS, DatabaseFactory
from tests.harness.tool import Tool
from tests.orders.service import OrdersService
from tests.shared.http.token_issuer import TokenIssuer


@pytest.fixture
async def settings(database_factory: DatabaseFactory, valkey_url: str) -> Settings:
    return Settings(
        database_url=await database_factory("orders"),
        valkey_url=valkey_url,
        kafka_bootstrap_servers="127.0.0.1:9",
        http_port=0,
        users_url="http://127.0.0.1:9",
        users_token="unused",
        rate_limit="100000/minute",
        route_rate_limits={"*": "100000/minute"},
        database_pool_size=CONNECTIONS,
        max_concurrent_requests=CONNECTIONS,
    )


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    """The service's database, to call commands and to read rows."""
    opened = open_database(settings.database_url, service="orders", pool_size=CONNECTIONS)
    yield opened
    await opened.close()


@pytest.fixture
async def service(settings: Settings, database: Database) -> AsyncIterator[OrdersService]:
    """The service without its lifespan, so that no relay, consumer or job runs."""
    issuer = TokenIssuer()
    app = create_app(settings)
    app.state.token_verifier = issuer.verifier()
    async with client_of(app) as client:
        yield OrdersService(http=client, issuer=issuer, sessions=database.sessions)
    await app.state.cache.close()
    await app.state.sessions.kw["bind"].dispose()


@pytest.fixture
def tool(settings: Settings) -> Tool:
    return Tool("orders", settings.database_url)
