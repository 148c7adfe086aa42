"""The faults of the whole system: its services, its servers, its gateway and its mail server."""

import signal

import asyncpg

from deploy.local.credentials import SERVICES
from tests.chaos.injector import Fault, Injector
from tests.chaos.saga import Whole

LONGER_THAN_LEASE_AND_SESSION = 12.0
SMTP_AWAY_SECONDS = 8.0

On = Injector[Whole]


async def kill_service(on: On) -> None:
    on.target.signal(on.rng.choice(SERVICES), signal.SIGKILL)


async def stop_service(on: On) -> None:
    on.stop_for_a_while(on.target.pid_of(on.rng.choice(SERVICES)), LONGER_THAN_LEASE_AND_SESSION)


async def kill_gateway(on: On) -> None:
    on.target.signal("gateway", signal.SIGKILL)


async def kill_valkey(on: On) -> None:
    on.target.signal("valkey", signal.SIGKILL)


async def stop_postgres_at_once(on: On) -> None:
    on.target.signal("postgres", signal.SIGQUIT)


async def terminate_back_ends(on: On) -> None:
    """Each role may end its own."""
    for service in SERVICES:
        connection = await asyncpg.connect(on.target.running.databases[service].replace("+asyncpg", "", 1), timeout=5)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND pid <> pg_backend_pid()",
            service,
        )
        await connection.close()


async def cut_after_commit(on: On) -> None:
    on.target.database_proxy.arm(on.rng.choice((1, 2, 4)))


async def kill_broker(on: On) -> None:
    on.target.ground.signal(on.rng.choice(on.target.ground.brokers), signal.SIGKILL)


async def stop_broker(on: On) -> None:
    pid = on.target.ground.pid_of(on.rng.choice(on.target.ground.brokers))
    on.stop_for_a_while(pid, on.rng.choice((2.0, LONGER_THAN_LEASE_AND_SESSION)))


async def cut_after_mail(on: On) -> None:
    """The mail server has the mail; its sender is not told."""
    on.target.mail_proxy.arm(on.rng.choice((1, 2)))


async def stop_mail_server(on: On) -> None:
    on.stop_for_a_while(on.target.pid_of("mail"), LONGER_THAN_LEASE_AND_SESSION)


async def refuse_mail(on: On) -> None:
    on.target.mail_proxy.refuse(SMTP_AWAY_SECONDS)


OF_THE_MAIL_SERVER = (cut_after_mail, stop_mail_server, refuse_mail)
SAGA_FAULTS: dict[str, Fault[Whole]] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (
        kill_service,
        stop_service,
        kill_gateway,
        kill_valkey,
        stop_postgres_at_once,
        terminate_back_ends,
        cut_after_commit,
        kill_broker,
        stop_broker,
        *OF_THE_MAIL_SERVER,
    )
}
SAGA_WORKLOADS: dict[str, tuple[str, ...]] = {
    "orders": tuple(name for name, fault in SAGA_FAULTS.items() if fault not in OF_THE_MAIL_SERVER),
    "failing-mail": tuple(name for name, fault in SAGA_FAULTS.items() if fault in (*OF_THE_MAIL_SERVER, kill_service)),
}
"""Orders with credit, and the faults that each of the two is for."""
