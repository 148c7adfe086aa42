"""The faults of campaigns on small services: each breaks a worker, PostgreSQL or a broker once."""

import signal
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg

from shared.connection_urls import dsn_of
from shared.messaging.failpoints import NAMES
from shared.messaging.outbox.lease import LEASE_DURATION
from tests.chaos.accounts import CONSUMER, TOPIC
from tests.chaos.broker_faults import kill_broker, suspend_broker
from tests.chaos.column_types import MESSAGING_COLUMNS, change_type
from tests.chaos.hostile_producer import HostileProducer
from tests.chaos.injector import Injector, named
from tests.chaos.lasting_faults import fill_for_a_while, shift_for_a_while
from tests.chaos.partition_faults import PublishedTopic, add_some
from tests.chaos.servers import CampaignServers
from tests.chaos.worker_pool import WorkerPool
from tests.harness.supervised_servers import OWNER

LEASE_SECONDS = LEASE_DURATION.total_seconds()
SESSION_TIMEOUT_SECONDS = 10.0
"""The consumers' Kafka session timeout; a member that is suspended for longer is removed."""
FAILPOINT_CHANCE = 0.02


@dataclass(frozen=True)
class Target:
    """One campaign's workers, and the servers that they use."""

    servers: CampaignServers
    workers: WorkerPool
    producer_url: str
    consumer_url: str
    hostile: HostileProducer

    @property
    def topic(self) -> PublishedTopic:
        """The workload's topic, and its producer."""
        return PublishedTopic(TOPIC, "users", self.producer_url, self.hostile.kafka, [CONSUMER])

    async def relay_leader(self) -> int | None:
        """Return the process id of the lease's owner; None if that process has died."""
        connection = await asyncpg.connect(dsn_of(self.producer_url), timeout=3)
        try:
            owner = await connection.fetchval("SELECT owner FROM relay_lease")
        finally:
            await connection.close()
        pid = int(owner.split()[0]) if owner else None
        return pid if pid in self.workers.pids("relay") else None


On = Injector[Target]


def _kill_one(on: On, role: str, *, failpoints: str = "") -> None:
    if pids := on.target.workers.pids(role):
        on.target.workers.kill(on.rng.choice(pids), failpoints=failpoints)


def _suspend_one(on: On, role: str, *, seconds: float) -> None:
    if pids := on.target.workers.pids(role):
        on.suspend(on.rng.choice(pids), seconds=seconds)


async def kill_writer(on: On) -> None:
    _kill_one(on, "writer")


async def kill_consumer(on: On) -> None:
    _kill_one(on, "consumer")


async def kill_relay_leader(on: On) -> None:
    if pid := await on.target.relay_leader():
        on.target.workers.kill(pid)


async def suspend_writer(on: On) -> None:
    _suspend_one(on, "writer", seconds=on.rng.uniform(1, 4))


async def suspend_consumer(on: On) -> None:
    """Suspend a consumer until its group has removed it."""
    _suspend_one(on, "consumer", seconds=SESSION_TIMEOUT_SECONDS * on.rng.uniform(1.1, 1.3))


async def suspend_relay_leader(on: On) -> None:
    """Suspend the leader until another relay has taken over."""
    if pid := await on.target.relay_leader():
        on.suspend(pid, seconds=LEASE_SECONDS * on.rng.uniform(1.1, 1.6))


async def failpoint(on: On) -> None:
    """Kill a worker; the one that replaces it dies at a random pass of any of its failpoints."""
    role, prefix = on.rng.choice([("writer", "api."), ("relay", "relay."), ("consumer", "consumer.")])
    names = [name for name in NAMES if name.startswith(prefix)]
    _kill_one(on, role, failpoints=";".join(f"{name}=kill%{FAILPOINT_CHANCE}" for name in names))


async def shut_down_postgres(on: On) -> None:
    """Shut PostgreSQL down in immediate mode: no checkpoint, recovery at the next start."""
    on.target.servers.supervised.processes.send_signal("postgres", signal.SIGQUIT)


async def terminate_backends(on: On) -> None:
    await on.target.servers.supervised.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{OWNER}'"  # noqa: S608 - a constant
    )


async def cut_after_commit(on: On) -> None:
    """Cut the next connections between COMMIT and its reply."""
    on.target.servers.proxy.arm(on.rng.choice((1, 2, 4)))


async def change_column_type(on: On) -> None:
    """Change the type of a column in the tables of the outbox or of the inbox."""
    database = urlsplit(on.rng.choice((on.target.producer_url, on.target.consumer_url))).path
    server = urlsplit(on.target.servers.supervised.postgres.admin_url)
    await change_type(server._replace(path=database).geturl(), MESSAGING_COLUMNS, on.rng)


async def fill_disk(on: On) -> None:
    """Fill PostgreSQL's disk for some seconds. It refuses to write, or dies because it cannot write its log."""
    await fill_for_a_while(on, on.target.servers.disk)


async def shift_clock(on: On) -> None:
    """Set PostgreSQL's clock wrong by ten minutes for some seconds."""
    shift_for_a_while(on, on.target.servers.clock)


async def add_partitions(on: On) -> None:
    """Add partitions with Kafka's tools, or let keys move to more partitions with the operators' command."""
    await add_some(on, on.target.topic)


async def hostile_producer(on: On) -> None:
    """Send a burst of hostile records that name the workload's accounts."""
    seed = on.rng.getrandbits(32)
    on.effects["hostile records"] += await on.target.hostile.send_burst(on.target.topic, seed=seed)


FAULTS = named(
    (
        kill_writer,
        kill_consumer,
        kill_relay_leader,
        suspend_writer,
        suspend_consumer,
        suspend_relay_leader,
        failpoint,
        shut_down_postgres,
        terminate_backends,
        cut_after_commit,
        kill_broker,
        suspend_broker,
        change_column_type,
        fill_disk,
        shift_clock,
        add_partitions,
        hostile_producer,
    )
)
