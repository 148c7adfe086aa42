"""A build of the three services, for a comparison: the right one that runs anyway, or a wrong one beside it."""

import asyncio
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from deploy.faults.target import Target
from deploy.local.control_protocol import WrongBuild
from deploy.local.credentials import ADMIN_EMAIL, SERVICES
from deploy.local.dependencies import WRONG
from deploy.local.ports import free_port
from deploy.local.postgres import AUDITOR, create_database, owner_of
from deploy.local.process import Program, run_to_end
from deploy.local.readiness import http_answers
from deploy.local.services import Services
from shared.events.topics import TOPICS
from shared.messaging.kafka import KafkaConnection
from shared.messaging.topics import admin_client

TOPIC_PREFIX = "wrong."
VALKEY_DATABASE = 1
"""Valkey's database of the wrong build. The right one has the first."""
PRODUCTS = 10
"""Products of the load: those of which most units are in stock."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """The addresses of a build, and the names of its processes."""

    name: str
    urls: Mapping[str, str]
    database_urls: Mapping[str, str]
    """URLs with the role that can only read, by service."""
    kafka: KafkaConnection
    process_prefix: str = ""

    def process(self, service: str) -> str:
        """Return the name of a service's process."""
        return self.process_prefix + service


def right_build(target: Target) -> Build:
    """Return the build that the system runs."""
    services = target.services()
    return Build(
        name="right",
        urls={service: services.url_of(service) for service in SERVICES},
        database_urls={service: services.database_url(service, role=AUDITOR) for service in SERVICES},
        kafka=KafkaConnection(services.kafka_bootstrap_servers),
    )


def busiest_skus(catalogue: Path) -> list[str]:
    """Return the products of the load."""
    return [json.loads(line)["sku"] for line in busiest_products(catalogue)]


def busiest_products(catalogue: Path) -> list[str]:
    """Return the lines of the catalogue's products of which most units are in stock."""
    lines = catalogue.read_text().splitlines()
    return sorted(lines, key=lambda line: json.loads(line)["stock"], reverse=True)[:PRODUCTS]


@dataclass(kw_only=True)
class WrongSystem:
    """The wrong build: its own databases on the same servers, its own topics, ports and processes."""

    target: Target
    build: WrongBuild
    _services: Services = field(init=False)
    _passwords: dict[str, str] = field(init=False)
    """The passwords of the databases, by service."""

    def __post_init__(self) -> None:
        ports = {f"{service}_port": free_port() for service in SERVICES}
        services = self.target.services()
        self._services = replace(services, settings=services.settings.model_copy(update=ports))
        self._passwords = {service: secrets.token_urlsafe(24) for service in SERVICES}

    @property
    def kafka(self) -> KafkaConnection:
        """The build's topics."""
        return KafkaConnection(self._services.kafka_bootstrap_servers, TOPIC_PREFIX)

    def as_build(self) -> Build:
        """Return where it is reached."""
        return Build(
            name=self.build.value,
            urls={service: self._services.url_of(service) for service in SERVICES},
            database_urls={
                service: _with_database(self._services.database_url(service, role=AUDITOR), service)
                for service in SERVICES
            },
            kafka=self.kafka,
            process_prefix=WRONG,
        )

    @property
    def skus(self) -> list[str]:
        """The products of the load."""
        return busiest_skus(self._catalogue)

    @property
    def _catalogue(self) -> Path:
        return self._services.settings.folder / "catalogue.jsonl"

    async def start(self) -> None:
        """Make databases, topics and accounts anew, and start the services. Raises: LocalError, database errors."""
        await self.drop()
        await asyncio.gather(*(self._create_database(service) for service in SERVICES))
        folder = self._services.settings.folder / "wrong"
        folder.mkdir(exist_ok=True)
        catalogue = folder / "catalogue.jsonl"
        catalogue.write_text("\n".join(busiest_products(self._catalogue)) + "\n")
        password_file = self.target.credentials.admin_password_file
        admin: list[str | Path] = ["--admin-email", ADMIN_EMAIL, "--admin-password-file", password_file]
        await run_to_end(
            [self._services.python, "-m", "services", "set-up", *admin, "--catalogue", catalogue],
            log=self._services.settings.logs / "wrong-set-up.log",
            environment={name: value for each in SERVICES for name, value in self._environment(each).items()},
        )
        async with asyncio.TaskGroup() as group:
            for service in SERVICES:
                group.create_task(self.target.supervisor.start(self._program(service)))

    async def stop(self) -> None:
        """Stop the services, and drop databases, roles and topics."""
        supervisor = self.target.supervisor
        names = [f"{WRONG}{service}" for service in SERVICES]
        await asyncio.gather(*(supervisor.stop_one(name) for name in names if name in supervisor.children))
        for name in names:
            supervisor.remove(name)
        await self.drop()

    async def drop(self) -> None:
        """Drop databases, roles and topics, also those that a killed system has left."""
        for service in SERVICES:
            connection = await asyncpg.connect(self.target.admin_url(service), timeout=10)
            try:
                await connection.execute(f'DROP DATABASE IF EXISTS "{_database(service)}" WITH (FORCE)')
                for role in (_database(service), owner_of(_database(service))):
                    await connection.execute(f'DROP ROLE IF EXISTS "{role}"')
            finally:
                await connection.close()
        async with admin_client(self.kafka) as admin:
            existing = set(await admin.list_topics())
            if ours := [name for topic in TOPICS if (name := TOPIC_PREFIX + topic.name) in existing]:
                await admin.delete_topics(ours)

    async def _create_database(self, service: str) -> None:
        password = self._passwords[service]
        await create_database(
            self.target.admin_url(service),
            name=_database(service),
            password=password,
            owner_password=password,
            audit_password=self.target.credentials.database_passwords[AUDITOR],
        )

    def _program(self, service: str) -> Program:
        port = self._services.settings.port_of(service)
        return replace(
            self._services.program(service),
            name=f"{WRONG}{service}",
            command=[self._services.python, "-m", "deploy.wrong_builds", self.build.value, service],
            environment=self._environment(service),
            ready=lambda: http_answers(port, "/health/ready"),
            notes=f"deliberately wrong: {self.build.value}",
            echo=None,
        )

    def _environment(self, service: str) -> dict[str, str]:
        usual = self._services.program(service).environment
        name, password = service.upper(), self._passwords[service]
        valkey = urlsplit(self._services.settings.valkey_url)._replace(path=f"/{VALKEY_DATABASE}").geturl()
        role, owner = _database(service), owner_of(_database(service))
        return {
            **usual,
            f"{name}_DATABASE_URL": self._url(service, role, password),
            f"{name}_MIGRATIONS_DATABASE_URL": self._url(service, owner, password),
            f"{name}_KAFKA_TOPIC_PREFIX": TOPIC_PREFIX,
            f"{name}_VALKEY_URL": valkey,
        }

    def _url(self, service: str, role: str, password: str) -> str:
        port = self._services.settings.postgres_port_of(service)
        return f"postgresql://{role}:{password}@127.0.0.1:{port}/{_database(service)}"


def _database(service: str) -> str:
    return f"wrong_{service}"


def _with_database(url: str, service: str) -> str:
    return urlsplit(url)._replace(path=f"/{_database(service)}").geturl()
