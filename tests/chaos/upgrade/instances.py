"""The processes of a campaign: of every service up to one of each version, side by side behind one gateway."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from deploy.local.credentials import SERVICES
from deploy.local.process import Program, run_to_end
from deploy.local.readiness import http_answers
from deploy.local.services import Services
from deploy.local.supervisor import Supervisor
from tests.chaos.upgrade.versions import Version, VersionName

MAX_MAIL_RETRY_SECONDS = "15"
"""Upper bound of the delay before a mail's retry: a campaign ends before the usual delays do."""
SHUTDOWN_DELAY_SECONDS = "2"
"""Time for which a stopped process still serves, so that the gateway's health checks notice, as in production."""
READY_TIMEOUT_SECONDS = 60.0
MIGRATION_KILL_SHARE = 0.3
"""The share of migrations that are killed once before they run to their end."""
MIGRATION_KILL_SECONDS = (0.2, 3.0)
"""Time after which they are killed: while they import, connect or migrate."""


@dataclass(frozen=True, kw_only=True)
class VersionServices(Services):
    """The three services with the code and the packages of one version."""

    version: Version
    ports: Mapping[str, int]
    """The port of each service's process."""
    addresses: Mapping[str, str]
    """The URLs of each service's processes of both versions, separated by commas, for the gateway."""

    def program(self, service: str) -> Program:
        """Return the program that runs a service in this version."""
        port = self.ports[service]
        return replace(
            super().program(service),
            name=instance_name(service, self.version.name),
            ready=lambda: http_answers(port, "/health/ready"),
            address=f"http://127.0.0.1:{port}",
        )

    async def set_up(self) -> None:
        """Set the system up with this version's code."""
        catalogue = self.settings.folder / "catalogue.jsonl"
        command = [self.python, "-m", "deploy.demo", "catalogue"]
        log = self.settings.logs / "catalogue.log"
        await run_to_end(command, log=log, output_to=catalogue, environment=self.version.environment())
        await super().set_up()

    def url_of(self, service: str) -> str:
        """Return the URLs of the service's processes, for the gateway."""
        return self.addresses[service]

    def environment(self, service: str) -> dict[str, str]:
        """Return a service's settings, and what makes its Python import this version."""
        settings = {
            "HTTP_PORT": str(self.ports[service]),
            # The old version asks this. Either version of users may be stopped, so it asks the gateway.
            "JWKS_URL": f"{self.settings.gateway_url}/.well-known/jwks.json",
            "LOG_FORMAT": "json",
            "SHUTDOWN_DELAY_SECONDS": SHUTDOWN_DELAY_SECONDS,
        }
        if service == "notifications":
            settings["DELIVERY_MAX_RETRY_SECONDS"] = MAX_MAIL_RETRY_SECONDS
        return {
            **super().environment(service),
            **{f"{service.upper()}_{name}": value for name, value in settings.items()},
            **self.version.environment(),
        }


@dataclass(frozen=True)
class Instance:
    """A service in one version, and the port of its process."""

    service: str
    version: VersionName
    port: int

    @property
    def name(self) -> str:
        """The name of its process."""
        return instance_name(self.service, self.version)


@dataclass
class Instances:
    """Starts and stops the processes of both versions, and knows which of them serve."""

    supervisor: Supervisor
    services: Mapping[VersionName, VersionServices]
    _serving: dict[str, Instance] = field(default_factory=dict)

    def adopt(self, version: VersionName) -> None:
        """Note that the system has started every service in this version."""
        self._serving |= {each.name: each for each in (self.instance(service, version) for service in SERVICES)}

    def instance(self, service: str, version: VersionName) -> Instance:
        """Return the instance, whether it runs or not."""
        return Instance(service, version, self.services[version].ports[service])

    def serving(self, service: str | None = None) -> list[Instance]:
        """Return the instances that are meant to serve: of one service, or of all."""
        return [each for each in self._serving.values() if service in {None, each.service}]

    def pid_of(self, instance: Instance) -> int:
        """Return the current process id of an instance; it changes with each restart."""
        return self.supervisor.children[instance.name].process.pid

    async def start(self, service: str, version: VersionName) -> None:
        """Start a service in this version, beside the other one if that runs, and wait until it is ready."""
        instance = self.instance(service, version)
        await self.supervisor.start(self.services[version].program(service))
        self._serving[instance.name] = instance

    async def stop(self, service: str, version: VersionName, *, kill: bool) -> None:
        """Stop a service in this version. Raises: TimeoutError if a restart after a fault does not end."""
        instance = self.instance(service, version)
        program = self.supervisor.children[instance.name].program
        # A fault may have killed it just now: the supervisor's restart is to be over before it is stopped.
        async with asyncio.timeout(READY_TIMEOUT_SECONDS):
            while not await program.ready():  # noqa: ASYNC110 - processes send no events
                await asyncio.sleep(0.1)
        del self._serving[instance.name]
        await self.supervisor.stop_one(instance.name, kill=kill)

    async def stop_all(self) -> None:
        """Stop every process of both versions."""
        self._serving.clear()
        names = [instance_name(service, version) for service in SERVICES for version in self.services]
        await asyncio.gather(*(self.supervisor.stop_one(name) for name in names if name in self.supervisor.children))

    async def migrate(self, service: str, version: VersionName, rng: random.Random) -> int:
        """Run the migrations of this version as a deployment does. Return how often they were killed on the way."""
        kills = 0
        if rng.random() < MIGRATION_KILL_SHARE:
            try:
                async with asyncio.timeout(rng.uniform(*MIGRATION_KILL_SECONDS)):
                    await self.services[version].migrate(service)
            except TimeoutError:
                kills = 1
        await self.services[version].migrate(service)
        return kills


def instance_name(service: str, version: VersionName) -> str:
    """Return the name of an instance's process and log."""
    return f"{service}-{version}"
