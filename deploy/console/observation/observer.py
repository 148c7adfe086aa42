"""The loop that asks each service for its health and its metrics every few seconds."""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import httpx2
import structlog

from deploy.console.observation.series import Series

logger = structlog.get_logger(__name__)

INTERVAL_SECONDS = 2.0
"""Delay between two rounds. Lowered, the pages are fresher and the services have more scrapes to answer."""
TIMEOUT_SECONDS = 2.5
MAX_HEALTH_CHANGES = 200
"""Health changes that are kept for each service."""

State = Literal["healthy", "degraded", "unhealthy", "unreachable"]


@dataclass(frozen=True)
class HealthChange:
    """A changed result of a check, or of the service as a whole."""

    at: datetime
    check: str
    """The name of the check; empty for the service as a whole."""
    state: str
    error: str | None


@dataclass
class ObservedHealth:
    """The health of one service: the last report, and what has changed."""

    state: State | None = None
    """None before the first answer."""
    checks: Mapping[str, str | None] = field(default_factory=dict)
    """The error of each check; None if it is healthy."""
    changes: deque[HealthChange] = field(default_factory=lambda: deque(maxlen=MAX_HEALTH_CHANGES))

    def note(self, state: State, checks: Mapping[str, str | None]) -> None:
        """Keep a report, and what has changed since the last one."""
        now = datetime.now(UTC)
        for name, error in checks.items():
            if name not in self.checks and error is None:
                continue
            if error != self.checks.get(name):
                self.changes.append(HealthChange(now, name, "unhealthy" if error else "healthy", error))
        if state != self.state:
            self.changes.append(HealthChange(now, "", state, None))
        self.state = state
        # While a service is unreachable, its checks stay as they were.
        self.checks = checks or self.checks


class Observer:
    """Holds what was observed of each target: the services, and others that have metrics only."""

    def __init__(self, services: Mapping[str, str], *, others: Mapping[str, str]) -> None:
        """Prepare to observe. Both map a target's name to its URL."""
        self.series = {name: Series() for name in (*services, *others)}
        self.health = {name: ObservedHealth() for name in services}
        self._services = dict(services)
        self._others = dict(others)
        self._client = httpx2.AsyncClient(timeout=TIMEOUT_SECONDS)

    async def run(self) -> None:
        """Observe until it is cancelled."""
        try:
            while True:
                started = time.monotonic()
                await self.observe()
                await asyncio.sleep(max(0.0, started + INTERVAL_SECONDS - time.monotonic()))
        finally:
            await self._client.aclose()

    async def observe(self) -> None:
        """Ask each target once."""
        targets = self._services | self._others
        await asyncio.gather(
            *(self._read_metrics(name, url) for name, url in targets.items()),
            *(self._read_health(name, url) for name, url in self._services.items()),
        )

    async def _read_metrics(self, name: str, url: str) -> None:
        with suppress(httpx2.TransportError):
            response = await self._client.get(f"{url}/metrics")
            if response.is_success:
                self.series[name].add(response.text, at=time.monotonic())

    async def _read_health(self, name: str, url: str) -> None:
        try:
            report = (await self._client.get(f"{url}/health")).json()
            checks = {check: result["error"] for check, result in report["checks"].items()}
            self.health[name].note(report["status"], checks)
        except (httpx2.TransportError, ValueError, KeyError):
            self.health[name].note("unreachable", {})
