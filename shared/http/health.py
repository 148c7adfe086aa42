"""Health routes: a full report for operators, and one route for each probe of an orchestrator."""

from typing import Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from shared.health import Health, HealthReport
from shared.http.auth import public
from shared.http.responses import json_response


def health_router(health: Health) -> APIRouter:
    """Return the router of `/health`, `/health/live` and `/health/ready`."""
    unhealthy: dict[int | str, dict[str, Any]] = {503: {"model": HealthReport, "description": "Unhealthy"}}
    router = APIRouter(prefix="/health", tags=["health"], dependencies=[Depends(public)], responses=unhealthy)

    @router.get("", summary="Report the health of all dependencies", response_model=HealthReport)
    async def health_report() -> Response:
        """Check every dependency of the service. `degraded` means that only optional ones fail; it is a 200."""
        return _response(await health.report())

    @router.get("/live", summary="Check liveness: restart the process if it fails", response_model=HealthReport)
    async def liveness() -> Response:
        """Check that no loop of the process is stuck. Dependencies are not checked: a restart would not fix them."""
        return _response(await health.liveness())

    @router.get("/ready", summary="Check readiness: send no requests while it fails", response_model=HealthReport)
    async def readiness() -> Response:
        """Check the dependencies that requests need. It also fails while the process shuts down."""
        return _response(await health.readiness())

    return router


def _response(report: HealthReport) -> Response:
    status = 503 if report.status == "unhealthy" else 200
    return json_response(report, status=status, headers={"Cache-Control": "no-store"})
