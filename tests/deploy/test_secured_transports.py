"""Every transport runs encrypted and authenticated, from the gateway to the mail, and refuses everything else."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import httpx2
import pytest
import redis.asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from deploy.local.state import CHECKOUT
from services.notifications.channels import SendFailed
from services.notifications.smtp import Smtp
from shared.messaging.kafka import KafkaConnection
from shared.messaging.topics import create_topics
from tests.deploy.secured_system import OUTSIDER, SecuredSystem, password_of, secured_system
from tests.harness.certificates import make_certificates
from tests.harness.waiting import until
from tests.journeys.processes import PASSWORD, SERVICES, RunningServices, customer_of


@pytest.fixture
async def system() -> AsyncIterator[SecuredSystem]:
    # Not pytest's folder: the user that PostgreSQL runs as cannot enter its parents.
    with TemporaryDirectory() as folder:
        async with secured_system(Path(folder)) as started:
            yield started


async def test_an_order_goes_from_the_gateway_to_the_mail_over_secured_transports_only(system: SecuredSystem) -> None:
    await _set_up(system)
    services = RunningServices(
        urls={service: f"https://127.0.0.1:{port}" for service, port in system.ports.items()},
        environment=system.environment(),
        logs=system.folder,
        tls=system.certificates.client_context(),
    )
    try:
        await services.start()
        await _order_and_get_the_mail(system, services)
        await _check_the_outside_subscriber(system)
        await _check_the_probe(system)
        await _check_plain_connections_are_refused(system)
    finally:
        await services.stop()
    await _check_another_ca_is_one_clear_error(system)
    await _check_acls(system)


async def _set_up(system: SecuredSystem) -> None:
    """Migrate as the schemas' owners, create topics as `migrate`, and fill the catalogue as the service itself."""
    for _ in range(2):  # applying the ACLs can be repeated
        await _run(
            *("deploy.kafka", "--outside", f"{OUTSIDER}=orders"), environment=system.admin_environment(), status=0
        )
    (system.folder / "admin").write_text(PASSWORD)
    options = ["--admin-email", "admin@example.org", "--admin-password-file", str(system.folder / "admin")]
    await _run(
        "services", "set-up", *options, "--catalogue", str(system.folder / "catalogue.jsonl"),
        environment=system.environment(kafka_user="migrate"), status=0,
    )  # fmt: skip


async def _run(*arguments: str, environment: dict[str, str], status: int) -> str:
    """Run a module of the project; return what it prints to stderr."""
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    return ended.stderr


async def _order_and_get_the_mail(system: SecuredSystem, services: RunningServices) -> None:
    url = f"https://127.0.0.1:{system.gateway_port}"
    async with httpx2.AsyncClient(base_url=url, verify=services.tls, timeout=20) as client:

        async def are_up() -> bool:
            answers = [await client.get(f"/v1/{path}") for path in ("users/me", "products", "notifications")]
            return not any(answer.status_code >= 500 for answer in answers)

        await until(are_up, what="the gateway has found every service ready", poll_seconds=0.2)
    customer = await customer_of(replace(services, urls=dict.fromkeys(SERVICES, url)), "ann")
    assert await customer.status_once_decided(await customer.order("LAMP", 2)) == "confirmed"

    async def is_mailed() -> bool:
        return any("confirmed" in mail["subject"] for mail in system.smtp.mails)

    await until(is_mailed, what="the mail of the confirmed order")


async def _check_the_outside_subscriber(system: SecuredSystem) -> None:
    """Check that the example of an outside subscriber gets the confirmed order."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(CHECKOUT / "docs" / "examples" / "outside_subscriber.py")),
        *(system.kafka.bootstrap_servers, str(system.folder / "confirmed.sqlite3")),
        env={
            **os.environ,
            "KAFKA_USERNAME": OUTSIDER,
            "KAFKA_PASSWORD": password_of(OUTSIDER),
            "KAFKA_CA_FILE": str(system.certificates.ca_file),
        },
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        async with asyncio.timeout(30):
            assert b" confirmed: 20.00 GBP" in await process.stdout.readline()
    finally:
        process.kill()
        # Also reads the pipe to its end, which closes it.
        await process.communicate()


async def _check_the_probe(system: SecuredSystem) -> None:
    """Check that a container's health check reaches a listener that serves HTTPS."""
    command = [sys.executable, "-IS", str(CHECKOUT / "deploy" / "probe.py"), "ready"]
    ended = await asyncio.to_thread(
        subprocess.run, command, env=system.environment() | {"SERVICE": "orders"}, check=False
    )
    assert ended.returncode == 0


async def _check_plain_connections_are_refused(system: SecuredSystem) -> None:
    plain = system.database_url(f"orders:{password_of('orders').replace('/', '%2F').replace('@', '%40')}", "orders")
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="no encryption"):
        await asyncpg.connect(re.sub(r"\?.*", "?sslmode=disable", plain))
    async with redis.asyncio.Redis(port=system.valkey_port) as client:
        with pytest.raises(redis.exceptions.ConnectionError):
            await client.ping()
    async with redis.asyncio.Redis.from_url(
        f"rediss://127.0.0.1:{system.valkey_port}?ssl_ca_certs={system.certificates.ca_file}"
    ) as client:
        with pytest.raises(redis.exceptions.AuthenticationError):
            await client.ping()
    for refused in (
        KafkaConnection(system.kafka.bootstrap_servers),
        replace(system.kafka, security_protocol="SSL"),
        replace(system.kafka, password="guess"),
    ):
        with pytest.raises(KafkaError):
            await create_topics(refused)
    async with httpx2.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{system.gateway_port}/v1/products")
        # Traefik's own answer: none of its routes is for plain HTTP. A service would answer with a problem document.
        assert (answer.status_code, answer.text) == (404, "404 page not found\n")
        with pytest.raises(httpx2.TransportError):
            await client.get(f"http://127.0.0.1:{system.ports['orders']}/health/ready")
    smtp = Smtp(f"smtp://127.0.0.1:{system.smtp.port}?starttls=never", local_hostname="orderly.example")
    with pytest.raises(SendFailed):
        await smtp.send(b"Subject: test\r\n\r\n", sender="a@example.org", recipient="b@example.org")


async def _check_another_ca_is_one_clear_error(system: SecuredSystem) -> None:
    other = make_certificates(system.folder / "other").ca_file
    url = system.database_url("orders", "orders").replace(str(system.certificates.ca_file), str(other))
    refused = "The database does not answer: [SSL: CERTIFICATE_VERIFY_FAILED]"
    for command, setting, message in (
        ("outbox status", {"ORDERS_DATABASE_URL": url}, refused),
        ("migrate", {"ORDERS_MIGRATIONS_DATABASE_URL": url}, refused),
        ("migrate", {"ORDERS_KAFKA_CA_FILE": str(other)}, "Kafka does not answer: "),
    ):
        environment = system.environment(kafka_user="migrate") | setting
        [line] = (await _run("services.orders", *command.split(), environment=environment, status=1)).splitlines()
        assert line.startswith(message)


async def _check_acls(system: SecuredSystem) -> None:
    """Check that a service writes its own topics only, and uses its own groups only."""
    async with AIOKafkaProducer(**system.kafka_as("users").client_options()) as producer:
        await producer.send_and_wait("users", b"{}")
        with pytest.raises(TopicAuthorizationFailedError):
            await producer.send_and_wait("orders", b"{}")
    for topic, group, error in (
        ("products", "users.products", TopicAuthorizationFailedError),
        ("orders", "orders.users", GroupAuthorizationFailedError),
    ):
        consumer = AIOKafkaConsumer(topic, group_id=group, **system.kafka_as("users").client_options())
        with pytest.raises(error):
            await _consume(consumer)
        await consumer.stop()


async def _consume(consumer: AIOKafkaConsumer) -> None:
    async with asyncio.timeout(20):
        await consumer.start()
        await consumer.getone()
