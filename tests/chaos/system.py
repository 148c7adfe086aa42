"""The whole system as the target of faults: proxies stand between its services and all of their servers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg

from deploy.demo.system import RunningSystem
from deploy.local.credentials import SERVICES, Credentials, ensure_credentials
from deploy.local.postgres import server_of
from deploy.local.process import Program
from deploy.local.screen import Screen
from deploy.local.services import Services
from deploy.local.settings import LocalSettings
from shared.connection_urls import dsn_of
from shared.messaging.kafka import KafkaConnection
from shared.operations.topics import declared_consumers
from tests.chaos.histories.cache_outages import PRODUCT_CACHE_SECONDS
from tests.chaos.hostile_producer import HostileProducer
from tests.chaos.partition_faults import PublishedTopic
from tests.chaos.proxies import Proxies, open_proxies
from tests.chaos.servers import CampaignServers
from tests.harness.clock import Clock, clocks_can_be_shifted
from tests.harness.small_disk import SmallDisk, disks_can_be_mounted, small_disk
from tests.harness.supervised_servers import SupervisedProcesses
from tests.harness.whole_system import settings_on_free_ports, whole_system

DISK_MEBIBYTES = 2_048
MAX_MAIL_RETRY_SECONDS = 15
"""Upper bound of the delay before a mail's retry, without its jitter: campaigns end before the usual delays do."""

TOPICS_OF_ORDERS = ("users", "orders")
"""Each is published by the service of its name."""

_OPEN_DELIVERIES = "SELECT count(*) FROM delivery WHERE next_attempt_at IS NOT NULL"


@dataclass(frozen=True, kw_only=True)
class ServicesUnderTest(Services):
    """The three services with the proxies' ports in their environment, and with clocks that can be shifted."""

    proxies: Proxies
    clocks: Mapping[str, Clock]
    mutant: str | None = None
    """A mutant of the orders service, which a campaign has to find."""

    def program(self, service: str) -> Program:
        """Return the program that runs a service, perhaps with the mutant."""
        usual = super().program(service)
        if service != "orders" or self.mutant is None:
            return usual
        return replace(usual, command=[self.python, "-m", "tests.chaos.histories.mutated_orders", self.mutant])

    def environment(self, service: str) -> dict[str, str]:
        """Return the environment of a service, with a short cache, and short delays before a mail's retries."""
        usual = super().environment(service)
        if service == "orders":
            usual |= {"ORDERS_PRODUCT_CACHE_SECONDS": str(PRODUCT_CACHE_SECONDS)}
        if service == "notifications":
            usual |= {
                "NOTIFICATIONS_DELIVERY_INITIAL_RETRY_SECONDS": "1",
                "NOTIFICATIONS_DELIVERY_MAX_RETRY_SECONDS": str(MAX_MAIL_RETRY_SECONDS),
            }
        clock = self.clocks[service].environment() if service in self.clocks else {}
        return self.proxies.environment(service, usual, settings=self.settings) | clock


@dataclass(frozen=True, kw_only=True)
class SystemUnderTest:
    """The running system, its processes and proxies, and the cluster that it uses."""

    servers: CampaignServers
    settings: LocalSettings
    credentials: Credentials
    running: RunningSystem
    processes: SupervisedProcesses
    screen: Screen
    proxies: Proxies
    clocks: Mapping[str, Clock]
    """The clocks of the services; empty if they cannot be shifted on this machine."""
    disk: SmallDisk | None
    """The disk of the three PostgreSQL servers; None if this process may not mount one."""
    hostile: HostileProducer

    @property
    def topics(self) -> list[PublishedTopic]:
        """The topics on whose events orders depend."""
        return [
            PublishedTopic(name, name, self.running.databases[name], self.hostile.kafka, declared_consumers(name))
            for name in TOPICS_OF_ORDERS
        ]

    def admin_url(self, service: str) -> str:
        """Return the URL of a service's database for the superuser, in the form that asyncpg takes."""
        password = self.credentials.database_passwords[server_of(service)]
        return f"postgresql://postgres:{password}@127.0.0.1:{self.settings.postgres_port_of(service)}/{service}"

    def end_faults(self) -> None:
        """End the faults that last: partitions, wrong clocks, and a full disk."""
        self.proxies.heal()
        for clock in self.clocks.values():
            clock.shift(0)
        if self.disk is not None:
            self.disk.free()

    async def wait_until_ready(self) -> None:
        """Wait until everything that a fault took down is up again. Raises: TimeoutError."""
        await self.processes.wait_until_ready()
        await self.servers.supervised.processes.wait_until_ready()

    async def count(self, query: str) -> int:
        """Return the sum of a query's result over the three databases."""
        return sum([await self._fetch(service, query) for service in SERVICES])

    async def count_open_deliveries(self) -> int:
        """Return how many mails will be tried again."""
        return await self._fetch("notifications", _OPEN_DELIVERIES)

    async def _fetch(self, service: str, query: str) -> int:
        connection = await asyncpg.connect(dsn_of(self.running.databases[service]))
        try:
            return await connection.fetchval(query) or 0
        finally:
            await connection.close()


@asynccontextmanager
async def system_under_test(servers: CampaignServers, *, mutant: str | None = None) -> AsyncIterator[SystemUnderTest]:
    """Start the system on the campaigns' Kafka, perhaps with a mutant of orders; stop it at the end."""
    folder = servers.supervised.folder / "system"
    settings = settings_on_free_ports(folder, kafka=servers.supervised.kafka)
    async with AsyncExitStack() as stack:
        proxies = await open_proxies(stack, settings, kafka=servers.kafka_proxies)
        disk = None
        if disks_can_be_mounted():
            disk = stack.enter_context(small_disk(folder / "postgres", mebibytes=DISK_MEBIBYTES))
        folder.mkdir(exist_ok=True)
        services = ServicesUnderTest(
            settings=settings,
            credentials=ensure_credentials(folder / "secrets"),
            kafka_bootstrap_servers=servers.supervised.kafka,
            proxies=proxies,
            clocks={name: Clock(folder / f"{name}.clock") for name in SERVICES} if clocks_can_be_shifted() else {},
            mutant=mutant,
        )
        system = await stack.enter_async_context(whole_system(services))
        yield SystemUnderTest(
            servers=servers,
            settings=settings,
            credentials=services.credentials,
            running=system.running,
            processes=system.processes,
            screen=system.screen,
            proxies=proxies,
            clocks=services.clocks,
            disk=disk,
            hostile=HostileProducer(KafkaConnection(servers.supervised.kafka)),
        )
