"""Fixtures: the three services as processes, with a product."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.compose.signing_keys import write_signing_keys
from services.orders.catalogue_commands import import_products
from services.orders.schemas import NewProduct
from shared.database import open_database
from shared.messaging.kafka import KafkaConnection
from shared.messaging.topics import create_topics
from tests.harness.databases import DatabaseFactory
from tests.harness.mail import MailCatcher
from tests.journeys.processes import PRICE_CENTS, SERVICES, RunningServices, environment_of


@pytest.fixture
async def services(
    database_factory: DatabaseFactory,
    kafka_bootstrap_servers: str,
    topic_prefix: str,
    valkey_url: str,
    smtp_catcher: MailCatcher,
    tmp_path: Path,
) -> AsyncIterator[RunningServices]:
    databases = {service: await database_factory(service) for service in SERVICES}
    await create_topics(KafkaConnection(kafka_bootstrap_servers, topic_prefix))
    signing_keys = tmp_path / "keys.json"
    write_signing_keys(signing_keys)
    environment, urls = environment_of(
        databases,
        kafka=kafka_bootstrap_servers,
        topic_prefix=topic_prefix,
        valkey_url=valkey_url,
        smtp_url=smtp_catcher.smtp_url,
        signing_keys_file=signing_keys,
    )
    await _add_product(databases["orders"])
    running = RunningServices(urls=urls, environment=environment, logs=tmp_path)
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
