"""The faults of the workload's small services, of PostgreSQL and of Kafka: each hurts one thing once."""

import signal
from dataclasses import dataclass

import asyncpg

from shared.database import dsn_of
from shared.messaging.failpoints import NAMES
from tests.chaos.fleet import Fleet
from tests.chaos.ground import Ground
from tests.chaos.injector import Fault, Injector

LEASE_SECONDS = 5.0
SESSION_SECONDS = 10.0
FAILPOINT_CHANCE = 0.02


@dataclass(frozen=True)
class Target:
    """One campaign's services, and the servers under them."""

    ground: Ground
    fleet: Fleet
    sender_url: str

    async def relay_leader(self) -> int | None:
        """The process that leads, as the lease tells; None when it is gone already."""
        connection = await asyncpg.connect(dsn_of(self.sender_url), timeout=3)
        try:
            owner = await connection.fetchval("SELECT owner FROM relay_lease")
        finally:
            await connection.close()
        pid = int(owner.split()[0]) if owner else None
        return pid if pid in self.fleet.pids("relay") else None


On = Injector[Target]


def _kill_one(on: On, role: str, *, failpoints: str = "") -> None:
    if pids := on.target.fleet.pids(role):
        on.target.fleet.kill(on.rng.choice(pids), failpoints=failpoints)


def _stop_one(on: On, role: str, *, seconds: float) -> None:
    if pids := on.target.fleet.pids(role):
        on.stop_for_a_while(on.rng.choice(pids), seconds)


async def kill_writer(on: On) -> None:
    _kill_one(on, "writer")


async def kill_consumer(on: On) -> None:
    _kill_one(on, "consumer")


async def kill_relay_leader(on: On) -> None:
    if pid := await on.target.relay_leader():
        on.target.fleet.kill(pid)


async def stop_relay_leader(on: On) -> None:
    if pid := await on.target.relay_leader():
        on.stop_for_a_while(pid, LEASE_SECONDS * on.rng.uniform(1.1, 1.6))


async def stop_consumer(on: On) -> None:
    _stop_one(on, "consumer", seconds=SESSION_SECONDS * on.rng.uniform(1.1, 1.3))


async def stop_writer(on: On) -> None:
    _stop_one(on, "writer", seconds=on.rng.uniform(1, 4))


async def failpoint(on: On) -> None:
    """A worker's successor dies somewhere between two steps, by chance."""
    role, prefix = on.rng.choice([("writer", "api."), ("relay", "relay."), ("consumer", "consumer.")])
    places = [name for name in NAMES if name.startswith(prefix)]
    _kill_one(on, role, failpoints=";".join(f"{name}=kill%{FAILPOINT_CHANCE}" for name in places))


async def stop_postgres_at_once(on: On) -> None:
    """Its immediate shutdown: no checkpoint, recovery at the next start."""
    on.target.ground.signal("postgres", signal.SIGQUIT)


async def terminate_back_ends(on: On) -> None:
    await on.target.ground.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'chaos'")


async def cut_after_commit(on: On) -> None:
    on.target.ground.proxy.arm(on.rng.choice((1, 2, 4)))


async def kill_broker(on: On) -> None:
    on.target.ground.signal(on.rng.choice(on.target.ground.brokers), signal.SIGKILL)


async def stop_broker(on: On) -> None:
    """Shorter, and longer, than a cluster waits for its member."""
    pid = on.target.ground.pid_of(on.rng.choice(on.target.ground.brokers))
    on.stop_for_a_while(pid, on.rng.choice((2.0, 12.0)))


FAULTS: dict[str, Fault[Target]] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (
        kill_writer,
        kill_consumer,
        kill_relay_leader,
        stop_writer,
        stop_consumer,
        stop_relay_leader,
        failpoint,
        stop_postgres_at_once,
        terminate_back_ends,
        cut_after_commit,
        kill_broker,
        stop_broker,
    )
}
