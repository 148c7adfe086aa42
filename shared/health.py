"""Health of a service: what it depends on, whether it takes requests, whether its process still turns."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import structlog
from fastapi import APIRouter, Depends
from pydantic import BaseModel
from starlette.responses import Response

from shared.http.auth import public

log = structlog.get_logger(__name__)

Check = Callable[[], Awaitable[None]]
"""Returns when all is well, raises when not."""


class Unhealthy(Exception):
    """Raised by a check that knows what is wrong; the message is shown, so it names no host and no person."""


class CheckResult(BaseModel):
    status: Literal["healthy", "unhealthy"]
    error: str | None
    duration_ms: float


class HealthReport(BaseModel):
    status: Literal["healthy", "degraded", "unhealthy"]
    service: str
    timestamp: datetime
    checks: dict[str, CheckResult]


async def always_alive() -> None:
    """To answer at all shows that the event loop turns."""


@dataclass
class Health:
    """`liveness` raises when a loop of the process, such as a consumer's, has stopped turning."""

    service: str
    checks: Mapping[str, Check]
    critical: frozenset[str]
    liveness: Check = always_alive
    timeout: timedelta = timedelta(seconds=2)
    _stopping: bool = field(default=False, init=False)
    _failing: set[str] = field(default_factory=set, init=False)

    def begin_shutdown(self) -> None:
        """From now on the service is not ready: whoever routes requests here should stop."""
        self._stopping = True

    async def report(self) -> HealthReport:
        return await self._run(self.checks, critical=self.critical)

    async def readiness(self) -> HealthReport:
        checks = {name: check for name, check in self.checks.items() if name in self.critical}
        return await self._run({"accepting": self._accepts} | checks, critical=self.critical | {"accepting"})

    async def is_live(self) -> HealthReport:
        return await self._run({"process": self.liveness}, critical=frozenset({"process"}))

    async def _accepts(self) -> None:
        if self._stopping:
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
        )

    async def _run_one(self, name: str, check: Check) -> CheckResult:
        started_at = time.perf_counter()
        error: str | None = None
        try:
            async with asyncio.timeout(self.timeout.total_seconds()):
                await check()
        except Exception as trouble:  # noqa: BLE001 - whatever a check raises is its finding
            error = _public_words(trouble)
            self._log_change(name, trouble)
        else:
            self._log_change(name, None)
        duration_ms = round((time.perf_counter() - started_at) * 1000, 1)
        return CheckResult(status="unhealthy" if error else "healthy", error=error, duration_ms=duration_ms)

    def _log_change(self, name: str, trouble: Exception | None) -> None:
        """Probes come every few seconds: only a change is news."""
        if trouble is not None and name not in self._failing:
            self._failing.add(name)
            log.warning("health_check_failed", check=name, exc_info=trouble)
        elif trouble is None and name in self._failing:
            self._failing.discard(name)
            log.info("health_check_recovered", check=name)


def _public_words(trouble: Exception) -> str:
    """The kind of trouble only: a driver's message holds hosts, users and sometimes passwords."""
    if isinstance(trouble, Unhealthy):
        return str(trouble)
    if isinstance(trouble, TimeoutError):
        return "timed out"
    if isinstance(trouble, OSError):
        return "unreachable"
    return type(trouble).__name__


def health_router(health: Health) -> APIRouter:
    not_healthy: dict[int | str, dict[str, Any]] = {503: {"model": HealthReport, "description": "Not healthy"}}
    router = APIRouter(prefix="/health", tags=["health"], dependencies=[Depends(public)], responses=not_healthy)

    @router.get("", summary="Everything this service depends on", response_model=HealthReport)
    async def health_report() -> Response:
        return _answer(await health.report())

    @router.get("/live", summary="Is the process turning? If not, restart it", response_model=HealthReport)
    async def liveness() -> Response:
        return _answer(await health.is_live())

    @router.get("/ready", summary="Should requests be sent here?", response_model=HealthReport)
    async def readiness() -> Response:
        return _answer(await health.readiness())

    return router


def _answer(report: HealthReport) -> Response:
    return Response(
        report.model_dump_json(),
        status_code=503 if report.status == "unhealthy" else 200,
        headers={"Cache-Control": "no-store"},
        media_type="application/json",
    )
