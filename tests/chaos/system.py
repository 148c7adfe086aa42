"""The whole system as the target of faults: its services reach PostgreSQL and the mail server through proxies."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg

from deploy.demo.system import RunningSystem
from deploy.local.credentials import ensure_credentials
from deploy.local.screen import Screen
from deploy.local.services import Services
from shared.database import dsn_of
from tests.chaos.servers import CampaignServers
from tests.harness.cutting_proxy import CuttingProxy
from tests.harness.supervised_servers import SupervisedProcesses
from tests.harness.whole_system import settings_on_free_ports, whole_system

END_OF_MAIL = b"\r\n.\r\n"


@dataclass(frozen=True, kw_only=True)
class ProxiedServices(Services):
    """The three services with the proxies' ports in their environment."""

    database_proxy: CuttingProxy
    mail_proxy: CuttingProxy

    def environment(self, service: str) -> dict[str, str]:
        """Return the usual environment with two ports replaced."""
        changed = super().environment(service)
        for name, server_port, proxy_port in (
            (f"{service.upper()}_DATABASE_URL", self.settings.postgres_port, self.database_proxy.port),
            ("NOTIFICATIONS_SMTP_URL", self.settings.smtp_port, self.mail_proxy.port),
        ):
            if name in changed:
                changed[name] = changed[name].replace(f":{server_port}", f":{proxy_port}")
        return changed


@dataclass(frozen=True)
class SystemUnderTest:
    """The running system, its processes and proxies, and the cluster that it uses."""

    servers: CampaignServers
    running: RunningSystem
    processes: SupervisedProcesses
    screen: Screen
    database_proxy: CuttingProxy
    mail_proxy: CuttingProxy

    async def wait_until_ready(self) -> None:
        """Wait until everything that a fault took down is up again. Raises: TimeoutError."""
        await self.processes.wait_until_ready()
        await self.servers.supervised.processes.wait_until_ready()

    async def count(self, query: str) -> int:
        """Return the sum of a query's result over the three databases."""
        total = 0
        for url in self.running.databases.values():
            connection = await asyncpg.connect(dsn_of(url))
            total += await connection.fetchval(query) or 0
            await connection.close()
        return total


@asynccontextmanager
async def system_under_test(servers: CampaignServers) -> AsyncIterator[SystemUnderTest]:
    """Start the system on the campaigns' Kafka; stop it at the end."""
    folder = servers.supervised.folder / "system"
    settings = settings_on_free_ports(folder, kafka=servers.supervised.kafka)
    database_proxy = CuttingProxy(target_port=settings.postgres_port)
    mail_proxy = CuttingProxy(target_port=settings.smtp_port, word=END_OF_MAIL)
    async with AsyncExitStack() as stack:
        for proxy in (database_proxy, mail_proxy):
            await proxy.open()
            stack.push_async_callback(proxy.close)
        services = ProxiedServices(
            settings=settings,
            credentials=ensure_credentials(folder / "secrets"),
            kafka_bootstrap_servers=servers.supervised.kafka,
            database_proxy=database_proxy,
            mail_proxy=mail_proxy,
        )
        system = await stack.enter_async_context(whole_system(services))
        # The checks must not be cut: they connect to the server itself.
        databases = {
            name: url.replace(f":{database_proxy.port}/", f":{settings.postgres_port}/")
            for name, url in system.running.databases.items()
        }
        running = replace(system.running, databases=databases)
        yield SystemUnderTest(servers, running, system.processes, system.screen, database_proxy, mail_proxy)
