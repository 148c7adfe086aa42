"""Fixtures: the three services as processes, with a product."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.orders.catalogue_commands import import_products
from services.orders.schemas import NewProduct
from shared.database import open_database
from tests.harness.databases import DatabaseFactory
from tests.harness.mail import MailCatcher
from tests.journeys.processes import PRICE_CENTS, SERVICES, RunningServices, prepared_environment


@pytest.fixture
def more_environment() -> dict[str, str]:
    """Variables that a module's tests add to the services' environment."""
    return {}


@pytest.fixture
async def services(
    database_factory: DatabaseFactory,
    kafka_bootstrap_servers: str,
    topic_prefix: str,
    valkey_url: str,
    smtp_catcher: MailCatcher,
    more_environment: dict[str, str],
    tmp_path: Path,
) -> AsyncIterator[RunningServices]:
    databases = {service: await database_factory(service) for service in SERVICES}
    environment, urls = await prepared_environment(
        databases,
        kafka=kafka_bootstrap_servers,
        topic_prefix=topic_prefix,
        valkey_url=valkey_url,
        smtp_url=smtp_catcher.smtp_url,
        folder=tmp_path,
    )
    await _add_product(databases["orders"])
    running = RunningServices(urls=urls, environment=environment | more_environment, logs=tmp_path)
    try:
        await running.start()
        yield running
    finally:
        await running.stop()


async def _add_product(database_url: str) -> None:
    database = open_database(database_url, service="orders", pool_size=1)
    lamp = NewProduct(sku="LAMP", name="Lamp", price_cents=PRICE_CENTS, currency="GBP", stock=1000)
    async with database.sessions.begin() as session:
        await import_products(session, [lamp])
    await database.close()
