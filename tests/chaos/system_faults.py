"""The faults of campaigns on the whole system: its services, its servers, its gateway and its mail server."""

import signal

import asyncpg

from deploy.local.credentials import SERVICES
from deploy.local.postgres import server_of
from shared.connection_urls import dsn_of
from tests.chaos.broker_faults import kill_broker, suspend_broker
from tests.chaos.column_types import MESSAGING_COLUMNS, SERVICE_COLUMNS, change_type
from tests.chaos.injector import Injector, named
from tests.chaos.lasting_faults import fill_for_a_while, shift_for_a_while
from tests.chaos.partition_faults import add_some
from tests.chaos.system import SystemUnderTest

LONGER_THAN_LEASE_AND_SESSION_SECONDS = 12.0
MAIL_UNAVAILABLE_SECONDS = 8.0
PARTITION_SECONDS = (2.0, 20.0)
"""Less, and more, than a statement's time-out, a consumer's session and a relay's lease."""

On = Injector[SystemUnderTest]


async def kill_service(on: On) -> None:
    service = on.rng.choice(SERVICES)
    on.note(service)
    on.target.processes.send_signal(service, signal.SIGKILL)


async def kill_notifications(on: On) -> None:
    """Kill the service that sends mails."""
    on.target.processes.send_signal("notifications", signal.SIGKILL)


async def suspend_service(on: On) -> None:
    service = on.rng.choice(SERVICES)
    on.note(service)
    on.suspend(on.target.processes.pid_of(service), seconds=LONGER_THAN_LEASE_AND_SESSION_SECONDS)


async def kill_gateway(on: On) -> None:
    on.target.processes.send_signal("gateway", signal.SIGKILL)


async def kill_valkey(on: On) -> None:
    on.target.processes.send_signal("valkey", signal.SIGKILL)


async def shut_down_postgres(on: On) -> None:
    """Shut a service's PostgreSQL down in immediate mode: no checkpoint, recovery at the next start."""
    on.target.processes.send_signal(server_of(on.rng.choice(SERVICES)), signal.SIGQUIT)


async def terminate_backends(on: On) -> None:
    """Terminate every service's connections; each role may terminate its own."""
    for service in SERVICES:
        connection = await asyncpg.connect(dsn_of(on.target.running.databases[service]), timeout=5)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND pid <> pg_backend_pid()",
            service,
        )
        await connection.close()


async def cut_after_commit(on: On) -> None:
    """Cut a service's next connections between COMMIT and its reply."""
    service = on.rng.choice(SERVICES)
    on.note(service)
    (proxy,) = on.target.proxies.by_server["postgres"][service]
    proxy.arm(on.rng.choice((1, 2, 4)))


async def cut_after_mail(on: On) -> None:
    """Cut the next connections after the mail server has accepted a mail, and before its reply."""
    on.target.proxies.mail.arm(on.rng.choice((1, 2)))


async def suspend_mail_server(on: On) -> None:
    on.suspend(on.target.processes.pid_of("mail"), seconds=LONGER_THAN_LEASE_AND_SESSION_SECONDS)


async def refuse_mail_connections(on: On) -> None:
    on.note(seconds=MAIL_UNAVAILABLE_SECONDS)
    on.target.proxies.mail.refuse(MAIL_UNAVAILABLE_SECONDS)


async def partition_network(on: On) -> None:
    """Let nothing through between a service and one of its servers, for some seconds."""
    server = on.rng.choice(list(on.target.proxies.by_server))
    by_service = on.target.proxies.by_server[server]
    seconds = on.rng.uniform(*PARTITION_SECONDS)
    service = on.rng.choice(list(by_service))
    on.note(f"{service} from {server}", seconds=seconds)
    for proxy in by_service[service]:
        proxy.partition(seconds)


async def change_column_type(on: On) -> None:
    """Change the type of a column in a service's tables, its messaging tables included."""
    service = on.rng.choice(SERVICES)
    await change_type(on.target.admin_url(service), [*SERVICE_COLUMNS[service], *MESSAGING_COLUMNS], on.rng)


async def fill_disk(on: On) -> None:
    """Fill the disk of all PostgreSQL servers for some seconds."""
    await fill_for_a_while(on, on.target.disk)


async def shift_clock(on: On) -> None:
    """Set a service's clock wrong by ten minutes for some seconds."""
    service = on.rng.choice(SERVICES)
    on.note(service)
    shift_for_a_while(on, on.target.clocks.get(service))


async def add_partitions(on: On) -> None:
    """Add partitions with Kafka's tools, or let keys move to more partitions with the operators' command."""
    await add_some(on, on.rng.choice(on.target.topics))


async def hostile_producer(on: On) -> None:
    """Send a burst of hostile records that name the latest users and orders."""
    for topic in on.target.topics:
        seed = on.rng.getrandbits(32)
        on.effects["hostile records"] += await on.target.hostile.send_burst(topic, seed=seed)


MAIL_FAULTS = named((cut_after_mail, suspend_mail_server, refuse_mail_connections))
ORDERS_FAULTS = named(
    (
        kill_service,
        suspend_service,
        kill_gateway,
        kill_valkey,
        shut_down_postgres,
        terminate_backends,
        cut_after_commit,
        kill_broker,
        suspend_broker,
        partition_network,
        change_column_type,
        fill_disk,
        shift_clock,
        add_partitions,
        hostile_producer,
    )
)
GREYLISTING = "greylisting"
SYSTEM_WORKLOADS = {
    "orders": ORDERS_FAULTS,
    "failing-mail": named((kill_service,)) | MAIL_FAULTS,
    GREYLISTING: named((kill_notifications,)),
}
"""The faults of each workload. All of them place orders."""
