"""The servers that campaigns break: a PostgreSQL, and a Kafka of one node or three; the killed start again."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from deploy.local.kafka import KafkaNode, new_cluster_id
from deploy.local.kafka_jars import ensure_jars
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres, create_owned_database, ensure_role
from deploy.local.process import run_to_end
from deploy.local.settings import CHECKOUT
from deploy.local.supervisor import Backoff, Supervisor
from tests.harness.cutting_proxy import CuttingProxy

PASSWORD = "orderly"  # of throw-away databases on the loopback address
TEMPLATE = "template_chaos"
WATCH_SECONDS = 1.0


@dataclass
class Ground:
    """Where the servers are, and how to hurt them."""

    folder: Path
    postgres: Postgres
    nodes: list[KafkaNode]
    proxy: CuttingProxy
    supervisor: Supervisor
    leaders_moved: int = 0
    _leaders: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def kafka(self) -> str:
        """What clients are given."""
        return ",".join(node.bootstrap_servers for node in self.nodes)

    @property
    def brokers(self) -> list[str]:
        """Names of the brokers' processes."""
        return [name for name in self.supervisor.children if name.startswith("kafka")]

    def pid_of(self, server: str) -> int:
        """Of a server's process at present."""
        return self.supervisor.children[server].process.pid

    def signal(self, server: str, number: signal.Signals) -> None:
        """One that is just being restarted is spared."""
        with suppress(ProcessLookupError):
            os.kill(self.pid_of(server), number)

    async def execute(self, statement: str) -> None:
        """As superuser."""
        connection = await asyncpg.connect(self.postgres.admin_url, timeout=5)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def new_database(self, name: str, *, template: str = TEMPLATE, strategy: str = "wal_log") -> str:
        """A migrated one; its URL leads through the proxy."""
        connection = await asyncpg.connect(self.postgres.admin_url)
        await create_owned_database(connection, name=name, owner="chaos", template=template, strategy=strategy)
        await connection.close()
        return self.database_url(name, port=self.proxy.port)

    def database_url(self, name: str, *, port: int | None = None) -> str:
        """Without a port: straight to the server."""
        return f"postgresql+asyncpg://chaos:{PASSWORD}@127.0.0.1:{port or self.postgres.port}/{name}"

    async def watch_leaders(self) -> None:
        """Count how often a partition got another leader."""
        while True:
            with suppress(KafkaError, OSError):
                async with AIOKafkaConsumer(bootstrap_servers=self.kafka) as consumer:
                    while True:
                        self._note_leaders(await consumer._client.fetch_all_metadata())
                        await asyncio.sleep(WATCH_SECONDS)
            await asyncio.sleep(WATCH_SECONDS)

    def _note_leaders(self, metadata: object) -> None:
        for topic, partitions in metadata._partitions.items():  # type: ignore[attr-defined]  # aiokafka has no types
            for number, partition in partitions.items():
                before = self._leaders.get((topic, number))
                if partition.leader >= 0 and before not in (None, partition.leader):
                    self.leaders_moved += 1
                if partition.leader >= 0:
                    self._leaders[topic, number] = partition.leader


@asynccontextmanager
async def prepared_ground(folder: Path, *, brokers: int, durable: bool = False) -> AsyncIterator[Ground]:
    """Start everything, and make the template of the databases; stop it all in the end.

    `durable`: PostgreSQL as it runs in production, which a crash of the machine would not hurt.
    """
    logs = folder / "logs"
    logs.mkdir(parents=True)
    postgres = Postgres(folder=folder / "postgres", port=free_port(), password=PASSWORD, durable=durable)
    nodes = _nodes(folder, brokers)
    supervisor = Supervisor(
        logs=logs,
        report=lambda _text: None,
        echo=lambda _name, _line: None,
        on_change=lambda: None,
        backoff=Backoff(initial_seconds=0.5, max_seconds=2, reset_after_seconds=5),
    )
    proxy = CuttingProxy(target_port=postgres.port)
    ground = Ground(folder, postgres, nodes, proxy, supervisor)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(supervisor.stop, [])
        await ensure_jars(logs / "kafka.log")
        await postgres.prepare(logs / "postgres.log")
        for node in nodes:
            await node.prepare(logs / f"kafka-{node.node_id}.log")
        await asyncio.gather(
            supervisor.start(postgres.program()), *(supervisor.start(node.program()) for node in nodes)
        )
        await proxy.open()
        stack.push_async_callback(proxy.close)
        await _make_template(ground)
        watching = asyncio.create_task(ground.watch_leaders())
        stack.callback(watching.cancel)
        yield ground


def _nodes(folder: Path, brokers: int) -> list[KafkaNode]:
    controllers = {number: free_port() for number in range(1, brokers + 1)}
    cluster_id = new_cluster_id()
    return [
        KafkaNode(
            folder=folder / f"kafka-{number}",
            port=free_port(),
            controller_ports=controllers,
            node_id=number,
            cluster_id=cluster_id,
        )
        for number in controllers
    ]


async def _make_template(ground: Ground) -> None:
    connection = await asyncpg.connect(ground.postgres.admin_url)
    await ensure_role(connection, name="chaos", password=PASSWORD)
    await create_owned_database(connection, name=TEMPLATE, owner="chaos")
    await connection.close()
    await run_to_end(
        [sys.executable, "-m", "services.users", "migrate", "--no-topics"],
        log=ground.folder / "logs" / "migrate.log",
        environment={
            "PYTHONPATH": str(CHECKOUT),
            "USERS_DATABASE_URL": ground.database_url(TEMPLATE),
            "USERS_KAFKA_BOOTSTRAP_SERVERS": ground.kafka,
        },
    )
