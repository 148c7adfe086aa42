"""The local system: starts its parts in the order of their dependencies, and stops them in the opposite order."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from deploy.backup.local import archive_program
from deploy.faults.target import Target
from deploy.local.audit_program import audit_program
from deploy.local.broker import prepare_broker
from deploy.local.console_program import console_program
from deploy.local.control import Control
from deploy.local.control_server import ControlServer
from deploy.local.credentials import SERVICES, Credentials
from deploy.local.databases import create_database_of, postgres_of
from deploy.local.gateway import Gateway
from deploy.local.kafka import make_class_cache
from deploy.local.kafka_jars import jars_folder
from deploy.local.mail_program import mail_program
from deploy.local.postgres import AUDITOR, server_of
from deploy.local.process import LocalError
from deploy.local.screen import Screen
from deploy.local.services import Services
from deploy.local.settings import LocalSettings
from deploy.local.state import audit_environment, write_state
from deploy.local.supervisor import Supervisor
from deploy.local.valkey import Valkey
from deploy.wrong_builds.comparison import Comparison

# The services first: they finish their work while the servers that they need still run.
STOP_ORDER = (
    ("audit",),
    SERVICES,
    ("gateway", "mail"),
    ("console",),
    ("kafka",),
    ("valkey",),
    tuple(map(server_of, SERVICES)),
)
KAFKA_HEAP_MB = 128
"""Bound of Kafka's heap: it is filled before it is collected, and few topics need no more."""


class System:
    """Starts everything, in parallel where dependencies allow it."""

    def __init__(
        self, settings: LocalSettings, *, credentials: Credentials, screen: Screen, services: Services | None = None
    ) -> None:
        """Prepare the parts. `services` replaces the usual ones, for other settings."""
        self._settings = settings
        self._screen = screen
        self._credentials = credentials
        self._services = services or Services(
            settings=settings,
            credentials=credentials,
            kafka_bootstrap_servers=settings.kafka_bootstrap_servers or f"127.0.0.1:{settings.kafka_port}",
        )
        self._ready = False
        self._started_at = datetime.now(UTC)
        self.supervisor = Supervisor(
            logs=settings.logs, report=screen.note, echo=screen.output, on_change=self._write_state
        )
        target = Target(
            supervisor=self.supervisor, settings=settings, credentials=credentials, services=lambda: self._services
        )
        self._control = Control(
            target,
            comparisons=Comparison(target),
            started_at=self._started_at,
            is_ready=lambda: self._ready,
        )
        self._socket = ControlServer(settings.folder, self._control.handle)

    async def start(self) -> None:
        """Start everything and wait until it is ready. Raises: ExceptionGroup of LocalError."""
        await self._socket.open()
        async with asyncio.TaskGroup() as group:
            # Kafka takes longest, so it starts first.
            kafka = group.create_task(self._start_kafka())
            databases = [group.create_task(self._start_database(service)) for service in SERVICES]
            valkey = group.create_task(self._start_valkey())
            set_up = group.create_task(self._set_up())
            group.create_task(self._start_mail())
            group.create_task(self._start_console())
            after = (*databases, kafka, valkey, set_up)
            services = [group.create_task(self._start_service(service, after=after)) for service in SERVICES]
            # A gateway that starts earlier finds the services unhealthy, and sends them nothing for a second more.
            group.create_task(self._start_gateway(after=services))
            group.create_task(self._start_audit(after=services))
        self._ready = True
        self._write_state()

    async def prepare_next_start(self) -> None:
        """Make Kafka's class cache unless it exists. After a failure, the next start is slower, and tries again."""
        if not self._settings.kafka_bootstrap_servers and jars_folder().exists():
            with suppress(LocalError):
                await make_class_cache(self._settings.logs / "kafka-class-cache.log")

    async def stop(self) -> None:
        """Stop everything in order. Each process is killed at its time-out."""
        await self._control.stop()
        await self.supervisor.stop(STOP_ORDER)
        await self._socket.close()

    async def _start_kafka(self) -> None:
        settings = self._settings
        if settings.kafka_bootstrap_servers:
            self._screen.note(f"Using the Kafka at {settings.kafka_bootstrap_servers} (KAFKA_BOOTSTRAP_SERVERS).")
            return
        with self._screen.step("Starting Kafka", "Kafka is ready"):
            broker = await prepare_broker(
                folder=settings.folder / "kafka",
                port=settings.kafka_port,
                controller_port=settings.kafka_controller_port,
                choice=settings.kafka,
                log=settings.logs / "kafka.log",
                warn=self._screen.note,
                max_heap_mb=KAFKA_HEAP_MB,
            )
            self._services = replace(self._services, idempotent_producer=broker.idempotent)
            await self.supervisor.start(broker.program)

    async def _start_database(self, service: str) -> None:
        postgres = postgres_of(service, settings=self._settings, credentials=self._credentials)
        with self._screen.step(f"Starting PostgreSQL for {service}", f"PostgreSQL for {service} is ready"):
            await postgres.prepare(self._settings.logs / f"{postgres.name}.log")
            await self.supervisor.start(postgres.program())
            # Before the first commit, which waits for it in synchronous mode.
            if receiver := await archive_program(service, postgres, settings=self._settings):
                await self.supervisor.start(receiver)
            await create_database_of(service, postgres, credentials=self._credentials)

    async def _start_valkey(self) -> None:
        valkey = Valkey(folder=self._settings.folder / "valkey", port=self._settings.valkey_port)
        with self._screen.step("Starting Valkey", "Valkey is ready"):
            await self.supervisor.start(valkey.program())

    async def _start_gateway(self, *, after: Sequence[asyncio.Task[None]]) -> None:
        await asyncio.gather(*after)
        gateway = Gateway(
            port=self._settings.gateway_port,
            health_port=self._settings.gateway_health_port,
            service_urls={service: self._services.url_of(service) for service in SERVICES},
            requests_per_second=self._settings.gateway_requests_per_second,
            trusted_proxies=self._settings.gateway_trusted_proxies,
            otlp_endpoint=self._settings.collector_url,
        )
        with self._screen.step("Starting the gateway", "The gateway is ready"):
            await self.supervisor.start(gateway.program())

    async def _start_mail(self) -> None:
        settings = self._settings
        program = mail_program(
            folder=settings.folder / "mails", smtp_port=settings.smtp_port, page_port=settings.mail_page_port
        )
        with self._screen.step("Starting the mail catcher", "The mail catcher is ready"):
            await self.supervisor.start(program)

    async def _start_console(self) -> None:
        if not self._settings.has_console:
            return
        program = console_program(
            self._settings,
            services=self._services,
            credentials=self._credentials,
            control_socket=self._socket.path,
        )
        with self._screen.step("Starting the console", f"The console is ready: {program.address}"):
            await self.supervisor.start(program)

    async def _start_audit(self, *, after: Sequence[asyncio.Task[None]]) -> None:
        """Start the audit once there are tables, and the services do not need the processor to start."""
        if self._settings.audit == "off":
            return
        await asyncio.gather(*after)
        environment = audit_environment(self._settings.folder, self._state())
        with self._screen.step("Starting the audit", "The audit is ready"):
            await self.supervisor.start(audit_program(self._settings, environment=environment))

    async def _start_service(self, service: str, *, after: tuple[asyncio.Task[None], ...]) -> None:
        await asyncio.gather(*after)
        with self._screen.step(f"Starting the {service} service", f"The {service} service is ready"):
            await self.supervisor.start(self._services.program(service))

    async def _set_up(self) -> None:
        done = "Database schemas, topics, the admin's account and the catalogue are ready"
        with self._screen.step("Setting up the services", done):
            await self._services.set_up()

    def _write_state(self) -> None:
        write_state(self._settings.folder, self._state())

    def _state(self) -> dict[str, Any]:
        settings, services = self._settings, self._services
        external_kafka = settings.kafka_bootstrap_servers
        return {
            "pid": os.getpid(),
            "ready": self._ready,
            "started_at": self._started_at.isoformat(),
            "logs": str(settings.logs),
            "control_socket": str(self._socket.path),
            "urls": {
                **({"console": settings.console_url} if settings.has_console else {}),
                **({"audit": settings.audit_url} if settings.audit == "on" else {}),
                "gateway": settings.gateway_url,
                **{service: services.url_of(service) for service in SERVICES},
                "mail": settings.mail_url,
                "smtp": settings.smtp_url,
                "valkey": settings.valkey_url,
            },
            "databases": {service: services.database_url(service) for service in SERVICES},
            "audit_databases": {service: services.database_url(service, role=AUDITOR) for service in SERVICES},
            "kafka_bootstrap_servers": services.kafka_bootstrap_servers,
            "admin_password_file": str(self._credentials.admin_password_file),
            "external": {"kafka": external_kafka} if external_kafka else {},
            "processes": {
                name: {
                    "pid": child.process.pid,
                    "address": child.program.address,
                    "notes": child.program.notes,
                    "restarts": child.restarts,
                }
                for name, child in sorted(self.supervisor.children.items())
            },
        }
