"""The work of each version: requests served, events published and events applied."""

import asyncio
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import httpx2

from tests.chaos.upgrade.instances import Instance, Instances
from tests.chaos.upgrade.versions import VersionName

POLL_SECONDS = 1.0
KINDS = ("requests", "published", "applied")
_COUNTERS = {
    "requests": re.compile(r'^http_requests_total\{.*route="/v1[^"]*".*\} (\S+)$', re.MULTILINE),
    "published": re.compile(r"^relay_published_total\{.*\} (\S+)$", re.MULTILINE),
    "applied": re.compile(r"^consumer_applied_total\{.*\} (\S+)$", re.MULTILINE),
}

Work = Counter[tuple[VersionName, str]]
"""Counts by version and kind of work."""


@dataclass
class Traffic:
    """Reads the metrics of every instance. What a process did in its last second before a kill is not counted."""

    instances: Instances
    work: Work = field(default_factory=Counter)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _last: dict[tuple[str, int], Counter[str]] = field(default_factory=dict)
    """The counters by instance and process id: they begin at zero in each process."""

    async def watch(self) -> None:
        """Count until cancelled."""
        while True:
            await self.read()
            await asyncio.sleep(POLL_SECONDS)

    async def read(self) -> None:
        """Add what was done since the last reading."""
        async with self._reading, httpx2.AsyncClient(timeout=2) as http:
            for instance in self.instances.serving():
                with suppress(httpx2.TransportError, KeyError):
                    await self._read(http, instance)

    async def _read(self, http: httpx2.AsyncClient, instance: Instance) -> None:
        pid = self.instances.pid_of(instance)
        page = (await http.get(f"http://127.0.0.1:{instance.port}/metrics")).text
        now = Counter({kind: int(sum(map(float, pattern.findall(page)))) for kind, pattern in _COUNTERS.items()})
        before = self._last.get((instance.name, pid), Counter())
        if pid == self.instances.pid_of(instance):
            self._last[instance.name, pid] = now
            self.work.update({(instance.version, kind): max(0, now[kind] - before[kind]) for kind in KINDS})
