"""Health of a service: state of its dependencies, readiness for requests, liveness of its process."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import structlog
from pydantic import BaseModel

from shared.shutdown import Shutdown, ShutdownReport

logger = structlog.get_logger(__name__)

Check = Callable[[], Awaitable[None]]
"""Raises an error if what it checks is unhealthy."""


class Unhealthy(Exception):
    """A check failed. The message is public, so it must not name hosts or people."""


class CheckResult(BaseModel):
    """The result of one check."""

    status: Literal["healthy", "unhealthy"]
    error: str | None
    duration_ms: float


class HealthReport(BaseModel):
    """The results of all checks, and what they mean for the service."""

    status: Literal["healthy", "degraded", "unhealthy"]
    service: str
    timestamp: datetime
    checks: dict[str, CheckResult]
    shutdown: ShutdownReport | None = None
    """The steps of a process that is stopping."""


def nothing_stuck() -> list[str]:
    """Return an empty list: any response shows that the event loop runs."""
    return []


@dataclass
class Health:
    """The checks of one service.

    The service is unhealthy if one of the `critical` checks fails, and degraded if only others do. `stuck` returns the
    loops of the process that are stuck, such as a consumer's. It does no I/O and may be called in any thread.
    """

    service: str
    checks: Mapping[str, Check]
    critical: frozenset[str]
    stuck: Callable[[], list[str]] = nothing_stuck
    timeout: timedelta = timedelta(seconds=2)
    shutdown: Shutdown = field(default_factory=Shutdown)
    _failing: set[str] = field(default_factory=set, init=False)

    async def report(self) -> HealthReport:
        """Run every check."""
        return await self._run(self.checks, critical=self.critical)

    async def readiness(self) -> HealthReport:
        """Run the critical checks, and check that the process is not shutting down."""
        checks = {name: check for name, check in self.checks.items() if name in self.critical}
        return await self._run({"accepting": self._accepts} | checks, critical=self.critical | {"accepting"})

    async def liveness(self) -> HealthReport:
        """Check that no loop of the process is stuck."""
        return await self._run({"process": self._lives}, critical=frozenset({"process"}))

    async def _lives(self) -> None:
        if stuck := self.stuck():
            raise Unhealthy(", ".join(stuck))

    async def _accepts(self) -> None:
        if self.shutdown.has_begun:
            raise Unhealthy("shutting down")

    async def _run(self, checks: Mapping[str, Check], *, critical: frozenset[str]) -> HealthReport:
        results = await asyncio.gather(*(self._run_one(name, check) for name, check in checks.items()))
        named = dict(zip(checks, results, strict=True))
        failed = {name for name, result in named.items() if result.error is not None}
        return HealthReport(
            status="unhealthy" if failed & critical else "degraded" if failed else "healthy",
            service=self.service,
            timestamp=datetime.now(UTC),
            checks=named,
            shutdown=self.shutdown.report(),
        )

    async def _run_one(self, name: str, check: Check) -> CheckResult:
        started_at = time.perf_counter()
        error: Exception | None = None
        try:
            async with asyncio.timeout(self.timeout.total_seconds()):
                await check()
        except Exception as raised:  # noqa: BLE001 - any error fails the check
            error = raised
        self._log_change(name, error)
        return CheckResult(
            status="healthy" if error is None else "unhealthy",
            error=None if error is None else _public_message(error),
            duration_ms=round((time.perf_counter() - started_at) * 1000, 1),
        )

    def _log_change(self, name: str, error: Exception | None) -> None:
        """Log a check only when its result changes, because probes run every few seconds."""
        if error is not None and name not in self._failing:
            self._failing.add(name)
            logger.warning("health_check_failed", check=name, exc_info=error)
        elif error is None and name in self._failing:
            self._failing.discard(name)
            logger.info("health_check_recovered", check=name)


def _public_message(error: Exception) -> str:
    """Return only the kind of error: a driver's message may contain hosts, users and passwords."""
    if isinstance(error, Unhealthy):
        return str(error)
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError):
        return "unreachable"
    return type(error).__name__
