"""The peers as running systems, each with servers of its own: their load, and the CPU time that it takes."""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx2
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.demo.accounts import Account
from deploy.local.kafka import KafkaNode
from deploy.local.kafka_jars import ensure_jars
from deploy.local.mail_program import mail_program
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from deploy.local.process import Program
from deploy.local.readiness import http_answers
from deploy.local.state import CHECKOUT
from deploy.local.supervisor import Supervisor
from tests.bench.orders_load import CUSTOMERS, PRODUCTS, SEED, Load
from tests.bench.peers.models import create_tables
from tests.bench.peers.tutorial import TOPICS
from tests.bench.work.processor_time import difference, processor_ms
from tests.harness.waiting import until

PASSWORD = "peers"
PARTITIONS = 6
SETTLE_TIMEOUT_SECONDS = 120.0
_SENT = "SELECT count(*) FROM delivery WHERE channel = 'email' AND sent_at IS NOT NULL"
_CONFIRMED = "SELECT count(*) FROM customer_order WHERE status = 'confirmed'"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A running peer. `dsns`: the databases that hold its orders and its deliveries."""

    load: Load
    supervisor: Supervisor
    orders_dsn: str
    deliveries_dsn: str

    @property
    def pids(self) -> dict[str, int]:
        """Return the current process ids by name."""
        return {name: child.process.pid for name, child in self.supervisor.children.items()}

    async def closed_loop(self, *, clients: int, seconds: float) -> tuple[int, float, dict[str, float]]:
        """Return how many orders were confirmed and mailed, the seconds, and the CPU time in ms by process."""
        before, started = processor_ms(self.pids), time.monotonic()
        sent = await _value(self.deliveries_dsn, _SENT)
        placed = await self.load.closed_loop(clients=clients, seconds=seconds)

        async def has_settled() -> bool:
            return await _value(self.deliveries_dsn, _SENT) == sent + len(placed)

        await until(has_settled, seconds=SETTLE_TIMEOUT_SECONDS, what="all mails are sent", poll_seconds=0.1)
        elapsed = time.monotonic() - started
        assert await _value(self.orders_dsn, _CONFIRMED) == sent + len(placed)
        return len(placed), elapsed, difference(processor_ms(self.pids), before)


@asynccontextmanager
async def tutorial(folder: Path) -> AsyncIterator[Peer]:
    """Run the tutorial's three services, each with a database of its own."""
    async with _servers(folder, kafka=True) as servers:
        databases = {name: await servers.create_database(name) for name in ("orders", "users", "notifications")}
        for url in databases.values():
            ids, skus = await create_tables(url, users=CUSTOMERS, products=PRODUCTS)
        ports = {name: free_port() for name in databases}
        await asyncio.gather(
            *(
                servers.start(f"tests.bench.peers.tutorial:{name}", name=name, port=ports[name], DATABASE_URL=url)
                for name, url in databases.items()
            )
        )
        async with _load(ports["orders"], ids, skus) as load:
            yield Peer(
                load=load,
                supervisor=servers.supervisor,
                orders_dsn=_dsn(databases["orders"]),
                deliveries_dsn=_dsn(databases["notifications"]),
            )


@asynccontextmanager
async def dbos(folder: Path) -> AsyncIterator[Peer]:
    """Run the DBOS application: one process, one database, and DBOS's own beside it."""
    async with _servers(folder, kafka=False) as servers:
        url, system = await servers.create_database("orders"), await servers.create_database("dbos_system")
        ids, skus = await create_tables(url, users=CUSTOMERS, products=PRODUCTS)
        port = free_port()
        await servers.start(
            "tests.bench.peers.dbos_app:app", name="dbos", port=port, DATABASE_URL=url, SYSTEM_DATABASE_URL=_dsn(system)
        )
        async with _load(port, ids, skus) as load:
            yield Peer(load=load, supervisor=servers.supervisor, orders_dsn=_dsn(url), deliveries_dsn=_dsn(url))


@dataclass(frozen=True, kw_only=True)
class _Servers:
    """The servers of one peer. `environment`: their addresses."""

    supervisor: Supervisor
    postgres: Postgres
    environment: Mapping[str, str]

    async def create_database(self, name: str) -> str:
        """Create an empty database; return SQLAlchemy's URL."""
        connection = await asyncpg.connect(self.postgres.admin_url)
        await connection.execute(f'CREATE DATABASE "{name}"')
        await connection.close()
        return f"postgresql+asyncpg://postgres:{PASSWORD}@127.0.0.1:{self.postgres.port}/{name}"

    async def start(self, factory: str, *, name: str, port: int, **environment: str) -> None:
        """Start one process of the peer and wait until it is ready."""
        await self.supervisor.start(
            Program(
                name=name,
                command=[sys.executable, "-m", "uvicorn", "--factory", factory, "--port", str(port)],
                environment={**self.environment, **environment, "PYTHONPATH": str(CHECKOUT)},
                ready=lambda: http_answers(port, "/health"),
                address=f"http://127.0.0.1:{port}",
            )
        )


@asynccontextmanager
async def _servers(folder: Path, *, kafka: bool) -> AsyncIterator[_Servers]:
    supervisor = Supervisor(
        logs=folder, report=lambda _text: None, echo=lambda _name, _line: None, on_change=lambda: None
    )
    postgres = Postgres(folder=folder / "postgres", port=free_port(), password=PASSWORD)
    smtp_port = free_port()
    environment = {"SMTP_PORT": str(smtp_port)}
    async with AsyncExitStack() as stack:
        stack.push_async_callback(supervisor.stop, [])
        await postgres.prepare(folder / "initdb.log")
        await supervisor.start(postgres.program())
        await supervisor.start(mail_program(folder=folder / "mails", smtp_port=smtp_port, page_port=free_port()))
        if kafka:
            node = KafkaNode(folder=folder / "kafka", port=free_port(), controller_ports={1: free_port()})
            await ensure_jars(folder / "jars.log")
            await node.prepare(folder / "kafka.log")
            await supervisor.start(node.program())
            await _create_topics(node.bootstrap_servers)
            environment["KAFKA_BOOTSTRAP_SERVERS"] = node.bootstrap_servers
        yield _Servers(supervisor=supervisor, postgres=postgres, environment=environment)


async def _create_topics(bootstrap_servers: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in TOPICS])
    await admin.close()


@asynccontextmanager
async def _load(port: int, ids: Sequence[object], skus: Sequence[str]) -> AsyncIterator[Load]:
    """Return Orderly's load for a peer, in which a user's token is its id."""
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
        yield Load(
            http=http,
            customers=[Account(str(one), "", str(one), str(one)) for one in ids],
            skus=skus,
            rng=random.Random(SEED),  # noqa: S311 - reproducible by its seed
            key_prefix="peer",
        )


async def _value(dsn: str, query: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        value: int = await connection.fetchval(query)
        return value
    finally:
        await connection.close()


def _dsn(url: str) -> str:
    return url.replace("+asyncpg", "", 1)
