"""The faults of a comparison: each hits both builds in the same way."""

import random
from collections.abc import Callable

from deploy.faults.target import Target
from deploy.local.credentials import SERVICES
from deploy.local.dependencies import WRONG
from deploy.local.lifecycle import State
from deploy.local.postgres import server_of


class SharedFaults:
    """Chooses faults at random. The first two are outages of the broker and of a database, so that each build's weak
    place is hit within a minute. Then each kind comes once before any is repeated.
    """

    def __init__(self, target: Target, *, seed: int) -> None:
        self.count = 0
        self.last: str | None = None
        self._target = target
        self._random = random.Random(seed)  # noqa: S311 - reproducible by its seed
        self._left: list[Callable[[], str | None]] = [self._kill_broker, self._kill_users_database]
        self._random.shuffle(self._left)

    @property
    def is_over(self) -> bool:
        """Return whether all that the last fault took down is up again."""
        return all(child.lifecycle.state is State.READY for child in self._target.supervisor.children.values())

    def inject(self) -> None:
        """Inject the next fault. One whose process is being restarted is left out."""
        if not self._left:
            services = [self._kill_service] * len(SERVICES)
            self._left = [self._kill_broker, self._kill_users_database, self._kill_orders_database, *services]
            self._random.shuffle(self._left)
        did = self._left.pop()()
        if did is not None:
            self.count += 1
            self.last = did

    def _kill_service(self) -> str | None:
        service = self._random.choice(SERVICES)
        killed = [name for name in (service, f"{WRONG}{service}") if self._kill(name)]
        return f"Killed {service} in both builds." if killed else None

    def _kill_broker(self) -> str | None:
        return "Killed the broker of both builds." if self._kill("kafka") else None

    def _kill_users_database(self) -> str | None:
        return self._kill_database("users")

    def _kill_orders_database(self) -> str | None:
        return self._kill_database("orders")

    def _kill_database(self, service: str) -> str | None:
        killed = self._kill(server_of(service))
        return f"Killed the PostgreSQL server of {service}, which has the databases of both builds." if killed else None

    def _kill(self, process: str) -> bool:
        child = self._target.supervisor.children.get(process)
        if child is None or child.process.exit_status is not None:
            return False
        self._target.supervisor.kill(process)
        return True
