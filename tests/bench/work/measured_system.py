"""A whole system with servers of its own, whose services come from this checkout or from another one."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from deploy.audit.databases import Databases
from deploy.demo.system import RunningSystem
from deploy.local.credentials import SERVICES, Credentials, ensure_credentials
from deploy.local.databases import postgres_of
from deploy.local.kafka import KafkaNode, class_cache_file
from deploy.local.kafka_jars import ensure_jars
from deploy.local.ports import free_port
from deploy.local.postgres import owner_of
from deploy.local.settings import LocalSettings
from deploy.local.state import CHECKOUT
from deploy.local.supervisor import Supervisor
from tests.bench.saga import GATEWAY_REQUESTS_PER_SECOND, FilledServices
from tests.bench.work.kafka_work import LOG4J_CONFIGURATION
from tests.bench.work.other_work import STATEMENT_SETTINGS
from tests.bench.work.statement_log import LOG_FILE, SERVER_SETTINGS, wait_for_log
from tests.harness.supervised_servers import SupervisedProcesses
from tests.harness.whole_system import settings_on_free_ports, whole_system


@dataclass(frozen=True, kw_only=True)
class CheckoutServices(FilledServices):
    """The services of a checkout. The rest of the system is always that of this one."""

    checkout: Path
    orders_roles: str | None = None

    def environment(self, service: str) -> dict[str, str]:
        """Return the usual environment, with which Python imports from the checkout and not from where it starts."""
        roles = {"ORDERS_ROLES": self.orders_roles} if service == "orders" and self.orders_roles else {}
        environment = super().environment(service) | {"PYTHONPATH": str(self.checkout), "PYTHONSAFEPATH": "1"} | roles
        if self.checkout != CHECKOUT:
            # Older ones want SQLAlchemy's name of the driver, and migrate with the role that serves.
            url = self.database_url(service, role=owner_of(service)).replace("postgresql:", "postgresql+asyncpg:")
            environment[f"{service.upper()}_DATABASE_URL"] = url
        return environment


@dataclass(frozen=True, kw_only=True)
class MeasuredSystem:
    """The running system. The superuser's connections to each database do not count as work of the services."""

    running: RunningSystem
    services: CheckoutServices
    databases: Databases
    processes: SupervisedProcesses
    kafka_pid: int | None
    statement_logs: Mapping[str, Path]
    """The log of each service's PostgreSQL server."""
    request_log: Path | None

    @property
    def pids(self) -> dict[str, int]:
        """The current process ids by name; Kafka's is not among them if the system uses a given Kafka."""
        pids = {name: self.processes.pid_of(name) for name in self.processes.supervisor.children}
        return pids | ({} if self.kafka_pid is None else {"kafka": self.kafka_pid})

    @property
    def urls(self) -> Mapping[str, str]:
        """The URL of each service, without the gateway."""
        return {service: self.services.url_of(service) for service in SERVICES}


def _python_of(checkout: Path) -> str:
    """Return the interpreter of the checkout's own environment, which has the packages of its uv.lock."""
    own = checkout / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable


@asynccontextmanager
async def measured_system(
    folder: Path,
    *,
    checkout: Path,
    counted: bool,
    rows: int = 0,
    kafka: str | None = None,
    topic_prefix: str = "work.",
    orders_roles: str | None = None,
) -> AsyncIterator[MeasuredSystem]:
    """Start a system and stop it at the end.

    `counted`: log every statement and every request to Kafka, which costs CPU time. `kafka`: use this one, without a
    log of its requests, instead of starting one. `orders_roles`: what the orders service does, instead of everything.
    """
    async with AsyncExitStack() as stack:
        address, kafka_pid = await stack.enter_async_context(_kafka(kafka, folder / "kafka", log_requests=counted))
        settings = settings_on_free_ports(
            folder, kafka=address, gateway_requests_per_second=GATEWAY_REQUESTS_PER_SECOND
        )
        credentials = ensure_credentials(folder / "secrets")
        for service in SERVICES:
            await _prepare_postgres(service, settings, credentials, counted=counted)
        services = CheckoutServices(
            settings=settings,
            credentials=credentials,
            kafka_bootstrap_servers=address,
            rows=rows,
            topic_prefix=topic_prefix,
            checkout=checkout,
            python=_python_of(checkout),
            orders_roles=orders_roles,
        )
        system = await stack.enter_async_context(whole_system(services))
        statement_logs = {service: settings.postgres_data_of(service) / LOG_FILE for service in SERVICES}
        if counted:
            for log in statement_logs.values():
                await wait_for_log(log)
        yield MeasuredSystem(
            running=system.running,
            services=services,
            databases=await stack.enter_async_context(_superuser_connections(settings, credentials)),
            processes=system.processes,
            kafka_pid=kafka_pid,
            statement_logs=statement_logs,
            request_log=folder / "kafka" / "kafka.log" if counted and kafka_pid else None,
        )


@asynccontextmanager
async def _kafka(given: str | None, folder: Path, *, log_requests: bool) -> AsyncIterator[tuple[str, int | None]]:
    """Start a broker unless one is given; yield its address, and the process id of a started one."""
    if given is not None:
        yield given, None
        return
    node = KafkaNode(folder=folder, port=free_port(), controller_ports={1: free_port()})
    options: tuple[str, ...] = ()
    if log_requests:
        options = (f"-Dlog4j2.configurationFile={LOG4J_CONFIGURATION}",)
        if class_cache_file().exists():
            options += (f"-XX:AOTCache={class_cache_file()}",)
    supervisor = Supervisor(
        logs=folder, report=lambda _text: None, echo=lambda _name, _line: None, on_change=lambda: None
    )
    await ensure_jars(folder.with_suffix(".log"))
    await node.prepare(folder.with_suffix(".log"))
    try:
        await supervisor.start(node.program(*options))
        yield node.bootstrap_servers, supervisor.children["kafka"].process.pid
    finally:
        await supervisor.stop([])


async def _prepare_postgres(service: str, settings: LocalSettings, credentials: Credentials, *, counted: bool) -> None:
    """Make the data folder and configure the service's server, before the system starts it."""
    postgres = postgres_of(service, settings=settings, credentials=credentials)
    await postgres.prepare(settings.logs / "initdb.log")
    if counted:
        lines = [f"{name} = '{value}'\n" for name, value in {**SERVER_SETTINGS, **STATEMENT_SETTINGS}.items()]
        with (postgres.folder / "postgresql.conf").open("a") as configuration:
            configuration.writelines(lines)


@asynccontextmanager
async def _superuser_connections(settings: LocalSettings, credentials: Credentials) -> AsyncIterator[Databases]:
    servers = {service: postgres_of(service, settings=settings, credentials=credentials) for service in SERVICES}
    connections = await asyncio.gather(
        *(asyncpg.connect(server.admin_url, database=service) for service, server in servers.items())
    )
    try:
        yield dict(zip(SERVICES, connections, strict=True))
    finally:
        for connection in connections:
            await connection.close()
