"""The parts of the running local system that faults act on."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import asyncpg

from deploy.local.background import Background
from deploy.local.control_protocol import ControlError
from deploy.local.credentials import Credentials
from deploy.local.cutting_proxy import CuttingProxy
from deploy.local.lifecycle import State
from deploy.local.postgres import server_of
from deploy.local.services import Services
from deploy.local.settings import LocalSettings
from deploy.local.supervisor import Supervisor

CONNECT_TIMEOUT_SECONDS = 5
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True, kw_only=True)
class Injected:
    """The effect of an injected fault, and how its end is noticed."""

    did: str
    details: dict[str, Any]
    has_ended: Callable[[], Awaitable[bool]]
    """Returns whether its effects are over."""


@dataclass(kw_only=True)
class Target:
    """The running system."""

    supervisor: Supervisor
    settings: LocalSettings
    credentials: Credentials
    services: Callable[[], Services]
    background: Background = field(default_factory=Background)
    """The tasks that run on after a fault was injected, such as the end of one that lasts for some time."""
    topic_prefix: str = ""
    """The prefix of the topics' names, for tests."""
    proxies: dict[str, CuttingProxy] = field(default_factory=dict)
    """The proxies between services and their databases, by service."""

    def admin_url(self, service: str) -> str:
        """Return the URL of a service's database for the superuser."""
        password = self.credentials.database_passwords[server_of(service)]
        return f"postgresql://postgres:{password}@127.0.0.1:{self.settings.postgres_port_of(service)}/{service}"

    @asynccontextmanager
    async def connected(self, service: str) -> AsyncIterator[Connection]:
        """Connect to a service's database as the superuser. Raises: CONNECTION_ERRORS."""
        connection = await asyncpg.connect(self.admin_url(service), timeout=CONNECT_TIMEOUT_SECONDS)
        try:
            yield connection
        finally:
            await connection.close()

    def pid_of(self, process: str) -> int:
        """Return the pid of a process that runs. Raises: ControlError."""
        child = self.supervisor.children.get(process)
        if child is None or child.process.exit_status is not None:
            raise ControlError("unavailable", f"{process} does not run here.")
        return child.process.pid

    def is_ready_after(self, process: str, *, pid: int) -> bool:
        """Return whether another process than the one with this pid is ready."""
        child = self.supervisor.children.get(process)
        return child is not None and child.process.pid != pid and child.lifecycle.state is State.READY

    async def is_ready(self, process: str) -> bool:
        """Return whether a process is ready, and says so now."""
        child = self.supervisor.children.get(process)
        return child is not None and child.lifecycle.state is State.READY and await child.program.ready()

    async def remove_proxy(self, service: str) -> None:
        """Close the proxy of a service that does not use it any more."""
        if (proxy := self.proxies.pop(service, None)) is not None:
            await proxy.close()

    async def close(self) -> None:
        """End what runs in the background, and close the proxies."""
        await self.background.close()
        for service in list(self.proxies):
            await self.remove_proxy(service)


Inject = Callable[[Target, Any], Coroutine[Any, Any, Injected]]
"""Injects a fault, given its parameters. Raises: ControlError if that is impossible now."""
