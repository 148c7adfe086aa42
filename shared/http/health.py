"""The health routes: one for people, one for each probe of an orchestrator."""

from typing import Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from shared.health import Health, HealthReport
from shared.http.auth import public


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
