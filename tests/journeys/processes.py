"""The three services as processes, as production runs them, on the servers of the test run; and their customers."""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import httpx2

from deploy.audit.databases import connected
from deploy.audit.invariants import check_once_settled
from deploy.local.ports import free_port
from deploy.local.state import CHECKOUT
from services.users.administration.creation import create_admin
from services.users.settings import Settings
from shared.connection_urls import dsn_of
from shared.messaging.kafka import KafkaConnection
from shared.messaging.topics import create_topics
from shared.settings import load
from tests.harness.encryption_keys import write_encryption_keys
from tests.harness.waiting import until

PASSWORD = "correct horse battery"
ADMIN_EMAIL = "admin@orderly.example"
PRICE_CENTS = 1_000
"""The price of the product LAMP."""
SERVICES = ("users", "orders", "notifications")
DECISION_TIMEOUT_SECONDS = 40
READY_TIMEOUT_SECONDS = 60
SERVICE_TOKEN = "a token for internal routes"
STOP_TIMEOUT_SECONDS = 30


@dataclass
class RunningServices:
    """The processes of the services: starts, kills and stops them."""

    urls: Mapping[str, str]
    environment: Mapping[str, str]
    logs: Path
    tls: ssl.SSLContext | bool = True
    """The context that verifies the services' certificates, if they serve HTTPS."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    admin: "Customer | None" = None
    """The admin who has created verified users, if there are any."""

    async def start(self, *services: str) -> None:
        """Start the named services, or all three, and wait until each is ready."""
        for service in services or SERVICES:
            self._begin(service)
        async with asyncio.timeout(READY_TIMEOUT_SECONDS), httpx2.AsyncClient(verify=self.tls) as client:
            for service in services or SERVICES:
                await self._ready(client, service)

    def kill(self, service: str) -> None:
        """Kill a service with SIGKILL."""
        self.processes[service].kill()
        self.processes[service].wait()

    async def stop(self) -> dict[str, int]:
        """Send SIGTERM to the running services, and return the exit status of each."""
        running = {name: process for name, process in self.processes.items() if process.poll() is None}
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        return {
            name: await asyncio.to_thread(process.wait, timeout=STOP_TIMEOUT_SECONDS)
            for name, process in running.items()
        }

    def _begin(self, service: str) -> None:
        with (self.logs / f"{service}.log").open("ab") as log:
            self.processes[service] = subprocess.Popen(
                [sys.executable, "-m", f"services.{service}"],
                env={**os.environ, **self.environment},
                cwd=CHECKOUT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    async def _ready(self, client: httpx2.AsyncClient, service: str) -> None:
        process = self.processes[service]

        async def is_ready() -> bool:
            assert process.poll() is None, (self.logs / f"{service}.log").read_text()[-3000:]
            try:
                return (await client.get(f"{self.urls[service]}/health/ready")).status_code == 200
            except httpx2.TransportError:
                return False

        await until(is_ready, what=f"{service} is ready", poll_seconds=0.1)


@dataclass
class Customer:
    """A signed-in user who calls the services directly."""

    email: str
    user_id: str
    urls: Mapping[str, str]
    headers: Mapping[str, str]
    tls: ssl.SSLContext | bool = True

    async def request(self, method: str, service: str, path: str, **arguments: Any) -> Any:
        """Send a request, and return the JSON of its response. Raises: httpx2.HTTPStatusError for an error status."""
        async with httpx2.AsyncClient(base_url=self.urls[service], timeout=20, verify=self.tls) as client:
            response = await client.request(method, path, headers=dict(self.headers), **arguments)
        response.raise_for_status()
        return response.json()

    async def signed_in(self) -> "Customer":
        """Sign in, and return the customer with the new token, which has the user's present roles."""
        account = {"email": self.email, "password": PASSWORD}
        session = await self.request("POST", "users", "/v1/sessions", json=account)
        return replace(self, headers={**self.headers, "Authorization": f"Bearer {session['access_token']}"})

    async def order(self, sku: str, quantity: int) -> str:
        """Place an order, and return its id."""
        placed = await self.request(
            "POST", "orders", "/v1/orders", json={"items": [{"sku": sku, "quantity": quantity}]}
        )
        return str(placed["id"])

    async def status_once_decided(self, order_id: str) -> str:
        """Wait until an order is not pending any more, and return its status."""

        async def status() -> str:
            return str((await self.request("GET", "orders", f"/v1/orders/{order_id}"))["status"])

        async def is_decided() -> bool:
            return await status() != "pending"

        await until(is_decided, seconds=DECISION_TIMEOUT_SECONDS, what="the order is decided", poll_seconds=0.1)
        return await status()

    async def credit(self) -> tuple[int, int]:
        """Return reserved and used credit in cents."""
        credit = await self.request("GET", "users", "/v1/users/me/credit")
        return credit["reserved_cents"], credit["used_cents"]


async def customer_of(services: RunningServices, name: str) -> Customer:
    """Return a signed-in customer whose address an admin has vouched for, so that mails are sent to it."""
    email = f"{name}@example.com"
    user_id = await verified_user(services, {"email": email, "name": name, "password": PASSWORD})
    return await Customer(email, user_id, services.urls, headers={}, tls=services.tls).signed_in()


async def verified_user(services: RunningServices, body: Mapping[str, str]) -> str:
    """Create a user as an admin, and return the user's id."""
    if services.admin is None:
        await create_admin_of(services)
        unknown = Customer(ADMIN_EMAIL, "", services.urls, headers={}, tls=services.tls)
        services.admin = await unknown.signed_in()
    created = await services.admin.request("POST", "users", "/v1/users/verified", json=body)
    return str(created["id"])


async def create_admin_of(services: RunningServices) -> None:
    """Create the admin as the operators' command does."""
    with mock.patch.dict(os.environ, services.environment):
        settings = load(Settings)
    await create_admin(settings, email=ADMIN_EMAIL, password=PASSWORD)


async def broken_invariants(services: RunningServices) -> list[str]:
    """Return the invariants that are violated once all events have been applied."""
    dsns = {service: dsn_of(services.environment[f"{service.upper()}_DATABASE_URL"]) for service in SERVICES}
    async with connected(dsns) as databases:
        return [
            str(finding)
            for finding in await check_once_settled(databases, within=timedelta(seconds=60))
            if finding.violations
        ]


async def prepared_environment(
    databases: Mapping[str, str], *, kafka: str, topic_prefix: str, valkey_url: str, smtp_url: str, folder: Path
) -> tuple[dict[str, str], dict[str, str]]:
    """Make the topics and the encryption keys; return the services' environment, and their URLs."""
    await create_topics(KafkaConnection(kafka, topic_prefix))
    return environment_of(
        databases,
        kafka=kafka,
        topic_prefix=topic_prefix,
        valkey_url=valkey_url,
        smtp_url=smtp_url,
        encryption_keys_file=write_encryption_keys(folder),
    )


def environment_of(
    databases: Mapping[str, str],
    *,
    kafka: str,
    topic_prefix: str,
    valkey_url: str,
    smtp_url: str,
    encryption_keys_file: Path,
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the environment of the services, and the URL of each."""
    ports = {service: free_port() for service in SERVICES}
    urls = {service: f"http://127.0.0.1:{port}" for service, port in ports.items()}
    environment: dict[str, str] = {}
    for service in SERVICES:
        own = {
            "DATABASE_URL": databases[service],
            "VALKEY_URL": valkey_url,
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "KAFKA_TOPIC_PREFIX": topic_prefix,
            "HTTP_PORT": str(ports[service]),
            "USERS_URL": urls["users"],
            "USERS_TOKEN": SERVICE_TOKEN,
            "NOTIFICATIONS_URL": urls["notifications"],
            "SERVICE_TOKENS": f"orders={SERVICE_TOKEN},notifications={SERVICE_TOKEN}",
            "ENCRYPTION_KEYS_FILE": str(encryption_keys_file),
            "SHARED_CLIENT_NETWORKS": "127.0.0.0/8",  # many customers have this machine's address
            "SIGN_UP_LIMIT_PER_EMAIL": "1000/hour",
            "WEBAUTHN_RP_ID": "localhost",
            "WEBAUTHN_ORIGINS": "http://localhost:8080",
            "SMTP_URL": smtp_url,
            "MAIL_FROM": "Orderly <no-reply@orderly.example>",
            "PUBLIC_URL": "http://localhost:8080",
        }
        environment |= {f"{service.upper()}_{name}": value for name, value in own.items()}
    return environment, urls
