"""The faults of a comparison: each hits both builds in the same way."""

import random
from collections.abc import Callable

from deploy.faults.target import Target
from deploy.local.credentials import SERVICES
from deploy.local.dependencies import WRONG
from deploy.local.postgres import server_of


class SharedFaults:
    """Chooses faults by chance, each kind once before any comes again, so that a minute has some of each."""

    def __init__(self, target: Target, *, seed: int) -> None:
        self.count = 0
        self.last: str | None = None
        self._target = target
        self._random = random.Random(seed)  # noqa: S311 - reproducible by its seed
        self._left: list[Callable[[], str | None]] = []

    def inject(self) -> None:
        """Inject the next fault. One whose process is being restarted is left out."""
        if not self._left:
            self._left = [self._kill_broker, self._shut_down_database, self._kill_service, self._kill_service]
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

    def _shut_down_database(self) -> str | None:
        service = self._random.choice(("users", "orders"))
        killed = self._kill(server_of(service))
        return f"Killed the PostgreSQL server of {service}, which has the databases of both builds." if killed else None

    def _kill(self, process: str) -> bool:
        child = self._target.supervisor.children.get(process)
        if child is None or child.process.exit_status is not None:
            return False
        self._target.supervisor.kill(process)
        return True
