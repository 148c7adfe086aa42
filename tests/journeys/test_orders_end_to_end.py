"""Orders from POST to mail, through three processes and a real Kafka."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from deploy.compose.signing_keys import write_signing_keys
from deploy.demo.invariants import check_once_settled, connected
from services.orders.catalogue_commands import import_products
from services.orders.schemas import NewProduct
from shared.database import dsn_of, open_database
from shared.messaging.topics import create_topics
from tests.harness.databases import DatabaseFactory
from tests.harness.mail import MailCatcher
from tests.journeys.processes import SERVICES, Customer, RunningServices, environment_of

PASSWORD = "correct horse battery"
PRICE_CENTS = 1_000


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
    await create_topics(kafka_bootstrap_servers, prefix=topic_prefix)
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
    await running.start()
    yield running
    await running.stop()


async def _add_product(database_url: str) -> None:
    database = open_database(database_url, service="orders", pool_size=1)
    lamp = NewProduct(sku="LAMP", name="Lamp", price_cents=PRICE_CENTS, currency="GBP", stock=1000)
    async with database.sessions.begin() as session:
        await import_products(session, [lamp])
    await database.close()


async def _customer(services: RunningServices, name: str) -> Customer:
    email = f"{name}@example.com"
    async with httpx2.AsyncClient(base_url=services.urls["users"], timeout=20) as client:
        signed_up = await client.post("/v1/users", json={"email": email, "name": name, "password": PASSWORD})
        signed_in = await client.post("/v1/sessions", json={"email": email, "password": PASSWORD})
    token = signed_in.raise_for_status().json()["access_token"]
    return Customer(
        email=email,
        user_id=signed_up.raise_for_status().json()["id"],
        urls=services.urls,
        headers={"Authorization": f"Bearer {token}"},
    )


async def _broken_invariants(services: RunningServices) -> list[str]:
    """Return the invariants that are violated once all events have been applied."""
    dsns = {service: dsn_of(services.environment[f"{service.upper()}_DATABASE_URL"]) for service in SERVICES}
    async with connected(dsns) as databases:
        return [
            str(finding)
            for finding in await check_once_settled(databases, within=timedelta(seconds=60))
            if finding.violations
        ]


async def test_orders_are_confirmed_or_rejected_and_mailed(
    services: RunningServices, smtp_catcher: MailCatcher
) -> None:
    ada = await _customer(services, "ada")
    affordable, too_expensive = await ada.order("LAMP", 60), await ada.order("LAMP", 50)

    assert await ada.status_once_decided(affordable) == "confirmed"
    assert await ada.status_once_decided(too_expensive) == "rejected"
    assert await ada.credit() == (60 * PRICE_CENTS, 0)

    await ada.request("POST", "orders", f"/v1/orders/{affordable}/cancel")
    mails = await smtp_catcher.wait_for(to=ada.email, count=4, timeout_seconds=40)
    assert {mail["subject"].split()[-1] for mail in mails} == {"Orderly", "confirmed", "accepted", "cancelled"}
    assert await _broken_invariants(services) == []
    assert await ada.credit() == (0, 0)
    notifications = await ada.request("GET", "notifications", "/v1/notifications")
    assert [one["event_type"] for one in notifications["items"]].count("order.cancelled") == 1


async def test_a_killed_service_breaks_no_invariant(services: RunningServices) -> None:
    customers = [await _customer(services, f"customer-{n}") for n in range(2)]
    orders = []
    for killed in SERVICES:
        orders += [(customer, await customer.order("LAMP", 1)) for _ in range(5) for customer in customers]
        services.kill(killed)
        await asyncio.sleep(0.5)
        await services.start(killed)
        orders += [(customer, await customer.order("LAMP", 1)) for customer in customers]
    assert {await customer.status_once_decided(order_id) for customer, order_id in orders} == {"confirmed"}
    assert await _broken_invariants(services) == []


async def test_sigterm_stops_each_service_in_order(services: RunningServices) -> None:
    await _customer(services, "eve")
    statuses = await services.stop()
    assert set(statuses.values()) <= {0, -15}
    for service in SERVICES:
        log = (services.logs / f"{service}.log").read_text()
        assert "service_stopped" in log
        assert "loop_cancelled" not in log
