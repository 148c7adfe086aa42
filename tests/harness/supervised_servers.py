"""A PostgreSQL and a Kafka cluster for one campaign or benchmark, under a supervisor that restarts what dies."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg

from deploy.local.kafka import KafkaNode, ProxiedListener, new_cluster_id
from deploy.local.kafka_jars import ensure_jars
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres, create_owned_database
from deploy.local.supervisor import Backoff, Supervisor
from tests.harness.databases import PASSWORD, create_template, database_url

OWNER = "orderly"
"""The role that owns every database."""
TEMPLATE = "template_orderly"
READY_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class SupervisedProcesses:
    """The processes of a supervisor, by name."""

    supervisor: Supervisor

    def pid_of(self, name: str) -> int:
        """Return the current process id; it changes with each restart."""
        return self.supervisor.children[name].process.pid

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal, unless the process is just being restarted."""
        with suppress(ProcessLookupError):
            os.kill(self.pid_of(name), number)

    async def wait_until_ready(self) -> None:
        """Wait until all of them are ready. Raises: TimeoutError."""
        async with asyncio.timeout(READY_TIMEOUT_SECONDS):
            for child in self.supervisor.children.values():
                while not await child.program.ready():  # noqa: ASYNC110 - processes send no events
                    await asyncio.sleep(0.2)


@dataclass(frozen=True)
class SupervisedServers:
    """The running servers, and the databases on them."""

    folder: Path
    postgres: Postgres
    nodes: list[KafkaNode]
    processes: SupervisedProcesses

    @property
    def kafka(self) -> str:
        """The bootstrap servers of the cluster."""
        return ",".join(node.bootstrap_servers for node in self.nodes)

    @property
    def brokers(self) -> list[str]:
        """The names of the brokers' processes."""
        return [name for name in self.processes.supervisor.children if name.startswith("kafka")]

    async def execute(self, statement: str) -> None:
        """Execute a statement as superuser."""
        connection = await asyncpg.connect(self.postgres.admin_url, timeout=5)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def create_database(self, name: str, *, template: str = TEMPLATE, strategy: str = "wal_log") -> str:
        """Copy a database from a template, by default an empty migrated one; return its URL."""
        connection = await asyncpg.connect(self.postgres.admin_url)
        await create_owned_database(connection, name=name, owner=OWNER, template=template, strategy=strategy)
        await connection.close()
        return database_url(self.postgres.admin_url, name=name, role=OWNER)


def postgres_folder(folder: Path) -> Path:
    """Return PostgreSQL's data folder. It is made in a folder of its own, which may be a file system of its own."""
    return folder / "postgres" / "data"


@asynccontextmanager
async def supervised_servers(
    folder: Path,
    *,
    brokers: int,
    durable: bool = False,
    kafka_listeners: Sequence[Mapping[str, ProxiedListener]] = (),
    postgres_environment: Mapping[str, str] | None = None,
) -> AsyncIterator[SupervisedServers]:
    """Start the servers and create the template database; stop everything at the end.

    `durable`: run PostgreSQL with fsync, as in production. Without it, commits survive a killed process only.
    `kafka_listeners`: more listeners of each broker.
    """
    logs = folder / "logs"
    logs.mkdir(parents=True)
    postgres = Postgres(folder=postgres_folder(folder), port=free_port(), password=PASSWORD, durable=durable)
    supervisor = Supervisor(
        logs=logs,
        report=lambda _text: None,
        echo=lambda _name, _line: None,
        on_change=lambda: None,
        backoff=Backoff(initial_seconds=0.5, max_seconds=2, reset_after_seconds=5),
    )
    nodes = _kafka_nodes(folder, kafka_listeners or [{}] * brokers)
    servers = SupervisedServers(folder, postgres, nodes, SupervisedProcesses(supervisor))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(supervisor.stop, [])
        await ensure_jars(logs / "kafka.log")
        await postgres.prepare(logs / "postgres.log")
        for node in servers.nodes:
            await node.prepare(logs / f"kafka-{node.node_id}.log")
        programs = [
            replace(postgres.program(), environment=postgres_environment or {}),
            *(node.program() for node in servers.nodes),
        ]
        await asyncio.gather(*(supervisor.start(program) for program in programs))
        # Which service's tables stand beside the messaging tables does not matter.
        await create_template(postgres.admin_url, name=TEMPLATE, owner=OWNER, service="users", log=logs / "migrate.log")
        yield servers


def _kafka_nodes(folder: Path, listeners: Sequence[Mapping[str, ProxiedListener]]) -> list[KafkaNode]:
    controllers = {number: free_port() for number in range(1, len(listeners) + 1)}
    cluster_id = new_cluster_id()
    return [
        KafkaNode(
            folder=folder / f"kafka-{number}",
            port=free_port(),
            controller_ports=controllers,
            node_id=number,
            cluster_id=cluster_id,
            proxied_listeners=listeners[number - 1],
        )
        for number in controllers
    ]
