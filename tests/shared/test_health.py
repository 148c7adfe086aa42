"""The health page reports every check, and no secrets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from shared.health import Check, Health, Unhealthy
from shared.http.auth import declared_access, public
from shared.http.health import health_router
from tests.harness.asgi import client_of


async def fine() -> None:
    pass


def failing(error: Exception) -> Check:
    async def check() -> None:
        raise error

    return check


def stuck() -> Check:
    async def check() -> None:
        await asyncio.Event().wait()

    return check


def make_health(**checks: Check) -> Health:
    return Health("orders", checks, frozenset({"database"}), timeout=timedelta(milliseconds=100))


@asynccontextmanager
async def health_client(health: Health) -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()
    app.include_router(health_router(health))
    async with client_of(app) as client:
        yield client


async def test_a_service_is_healthy_if_all_checks_pass() -> None:
    async with health_client(make_health(database=fine, cache=fine)) as client:
        response = await client.get("/health")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert datetime.now(UTC) - datetime.fromisoformat(body.pop("timestamp")) < timedelta(seconds=10)
    for check in body["checks"].values():
        assert check.pop("duration_ms") >= 0
    assert body == {
        "status": "healthy",
        "service": "orders",
        "checks": {
            "database": {"status": "healthy", "error": None},
            "cache": {"status": "healthy", "error": None},
        },
        "shutdown": None,
    }


@pytest.mark.parametrize(
    ("failed", "status", "http_status"), [("database", "unhealthy", 503), ("cache", "degraded", 200)]
)
async def test_only_a_critical_check_makes_a_service_unhealthy(failed: str, status: str, http_status: int) -> None:
    checks = {"database": fine, "cache": fine} | {failed: failing(OSError("refused"))}
    async with health_client(make_health(**checks)) as client:
        response = await client.get("/health")
    assert (response.status_code, response.json()["status"]) == (http_status, status)
    assert response.json()["checks"][failed]["error"] == "unreachable"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionRefusedError("db.internal:5432"), "unreachable"),
        (TimeoutError("db.internal"), "timed out"),
        (RuntimeError("password=hunter2"), "RuntimeError"),
        (Unhealthy("oldest event waits for 75 s"), "oldest event waits for 75 s"),
    ],
)
async def test_the_page_has_the_kind_of_error_and_the_log_the_whole_error(error: Exception, message: str) -> None:
    with capture_logs() as logs:
        report = await make_health(database=failing(error)).report()
    assert report.checks["database"].error == message
    assert [(line["event"], line["exc_info"]) for line in logs] == [("health_check_failed", error)]


async def test_a_check_that_hangs_times_out_and_does_not_delay_the_others() -> None:
    all_started = asyncio.Barrier(3)
    met: list[int] = []

    async def stuck_together() -> None:
        met.append(await all_started.wait())
        await stuck()()

    health = make_health(database=stuck_together, cache=stuck_together, kafka=stuck_together)
    with capture_logs() as logs:
        report = await health.report()
    assert len(met) == 3
    assert {result.error for result in report.checks.values()} == {"timed out"}
    assert all(99 <= result.duration_ms < 10_000 for result in report.checks.values())
    assert {line["check"] for line in logs} == {"database", "cache", "kafka"}


async def test_only_a_changed_result_is_logged() -> None:
    down = OSError("down")
    outcomes: list[Exception | None] = [down, down, down, None, None, down]

    async def check() -> None:
        if error := outcomes.pop(0):
            raise error

    health = make_health(database=check)
    with capture_logs() as logs:
        for _ in range(len(outcomes)):
            await health.report()
    assert [line["event"] for line in logs] == [
        "health_check_failed",
        "health_check_recovered",
        "health_check_failed",
    ]


async def test_readiness_runs_only_critical_checks() -> None:
    async with health_client(make_health(database=fine, cache=failing(OSError()))) as client:
        response = await client.get("/health/ready")
    assert response.status_code == 200
    assert set(response.json()["checks"]) == {"accepting", "database"}


async def test_a_service_is_not_ready_if_a_critical_check_fails() -> None:
    async with health_client(make_health(database=failing(OSError()))) as client:
        assert (await client.get("/health/ready")).status_code == 503


async def test_a_service_that_shuts_down_is_not_ready_but_live() -> None:
    health = make_health(database=fine)
    async with health_client(health) as client:
        assert (await client.get("/health/ready")).status_code == 200
        health.shutdown.begin()
        response = await client.get("/health/ready")
        assert (response.status_code, response.json()["checks"]["accepting"]["error"]) == (503, "shutting down")
        assert (await client.get("/health/live")).status_code == 200


async def test_a_service_is_live_although_its_dependencies_are_down() -> None:
    async with health_client(make_health(database=failing(OSError()))) as client:
        assert (await client.get("/health/live")).status_code == 200


async def test_a_service_with_a_stuck_loop_is_not_live() -> None:
    health = replace(make_health(database=fine), stuck=lambda: ["relay", "deliveries"])
    async with health_client(health) as client:
        response = await client.get("/health/live")
    assert (response.status_code, response.json()["checks"]["process"]["error"]) == (503, "relay, deliveries")


def test_the_health_routes_are_declared_public() -> None:
    app = FastAPI(openapi_url=None)
    app.include_router(health_router(make_health()))
    assert declared_access(app) == {
        "GET /health": public,
        "GET /health/live": public,
        "GET /health/ready": public,
    }
