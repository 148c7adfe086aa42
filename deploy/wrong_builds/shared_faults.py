"""The faults of a comparison: each hits both builds in the same way."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from deploy.faults.target import Target
from deploy.local.control_protocol import WrongBuild
from deploy.local.credentials import SERVICES
from deploy.local.dependencies import WRONG
from deploy.local.lifecycle import State
from deploy.local.postgres import server_of

OUTAGE_SECONDS = 1.5
"""Time for which the broker is away before a service is killed, too. Kafka takes longer to start."""

Fault = Callable[[], Awaitable[str | None]]


class SharedFaults:
    """Chooses faults at random. The first one hits the weak place of the wrong build. Then each kind comes once before
    any is repeated.
    """

    def __init__(self, target: Target, *, build: WrongBuild, seed: int) -> None:
        self.count = 0
        self.last: str | None = None
        self._target = target
        self._random = random.Random(seed)  # noqa: S311 - reproducible by its seed
        self._left: list[Fault] = [self._first_fault(build)]

    @property
    def is_over(self) -> bool:
        """Return whether all that the last fault took down is up again."""
        return all(child.lifecycle.state is State.READY for child in self._target.supervisor.children.values())

    async def inject(self) -> None:
        """Inject the next fault. One whose process is being restarted is left out."""
        if not self._left:
            services = [self._kill_service] * len(SERVICES)
            databases = [self._kill_users_database, self._kill_orders_database]
            self._left = [self._kill_broker, self._kill_broker_and_orders, *databases, *services]
            self._random.shuffle(self._left)
        did = await self._left.pop()()
        if did is not None:
            self.count += 1
            self.last = did

    def _first_fault(self, build: WrongBuild) -> Fault:
        match build:
            case WrongBuild.ACKNOWLEDGE_BEFORE_APPLYING:
                return self._kill_users_database
            case WrongBuild.PUBLISH_AFTER_COMMIT:
                return self._kill_broker_and_orders

    async def _kill_service(self) -> str | None:
        service = self._random.choice(SERVICES)
        return f"Killed {service} in both builds." if self._kill_in_both(service) else None

    async def _kill_broker(self) -> str | None:
        return "Killed the broker of both builds." if self._kill("kafka") else None

    async def _kill_broker_and_orders(self) -> str | None:
        if not self._kill("kafka"):
            return None
        await asyncio.sleep(OUTAGE_SECONDS)
        self._kill_in_both("orders")
        return "Killed the broker of both builds, and orders in both while it was away."

    async def _kill_users_database(self) -> str | None:
        return self._kill_database("users")

    async def _kill_orders_database(self) -> str | None:
        return self._kill_database("orders")

    def _kill_in_both(self, service: str) -> bool:
        killed = [name for name in (service, f"{WRONG}{service}") if self._kill(name)]
        return bool(killed)

    def _kill_database(self, service: str) -> str | None:
        killed = self._kill(server_of(service))
        return f"Killed the PostgreSQL server of {service}, which has the databases of both builds." if killed else None

    def _kill(self, process: str) -> bool:
        child = self._target.supervisor.children.get(process)
        if child is None or child.process.exit_status is not None:
            return False
        self._target.supervisor.kill(process)
        return True
