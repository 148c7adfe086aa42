"""A process that stops under load, beside another one and behind the gateway, fails no request and drains in order."""

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2

from tests.deploy.running_gateway import gateway
from tests.harness.databases import DatabaseFactory
from tests.harness.service_process import ServiceProcess, service_process
from tests.harness.waiting import until

CLIENTS = 4
SHUTDOWN_DELAY_SECONDS = 3
"""Longer than the interval of the gateway's health checks."""
STEPS = ["readiness", "listener", "requests", "consumers", "jobs", "relay", "pool"]


async def test_no_request_fails_while_one_of_two_processes_stops(
    database_factory: DatabaseFactory, valkey_url: str, tmp_path: Path
) -> None:
    url = await database_factory("orders")
    settings = {
        "RATE_LIMIT": "100000/minute",
        "ROUTE_RATE_LIMITS": "*=100000/minute",
        "SHUTDOWN_DELAY_SECONDS": str(SHUTDOWN_DELAY_SECONDS),
    }
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(
                service_process(url, valkey_url, log=tmp_path / f"{number}.log", **settings)
            )
            for number in (1, 2)
        ]
        client = await stack.enter_async_context(gateway(tmp_path, orders=f"{first.url},{second.url}"))
        statuses = Counter[tuple[str, int]]()
        stopping = asyncio.Event()
        loads = [asyncio.create_task(_send_requests(client, statuses, stopping)) for _ in range(CLIENTS)]
        await asyncio.sleep(1)
        before = statuses.total()
        first.terminate()
        await until(lambda: _is_in_step(first, "readiness"), what="the health page shows the first step")
        assert await first.exit_status() == 0
        until_exit = statuses.total()
        await asyncio.sleep(1)
        stopping.set()
        await asyncio.gather(*loads)

    # A POST without a token: the service itself answers with 401, and the gateway may not send it again.
    assert statuses.keys() == {("GET", 200), ("POST", 401)}, statuses
    assert 0 < before < until_exit < statuses.total()
    assert _steps(first.output()) == STEPS


async def _is_in_step(service: ServiceProcess, step: str) -> bool:
    async with httpx2.AsyncClient() as client:
        shutdown = (await client.get(f"{service.url}/health/live")).json()["shutdown"]
    return shutdown is not None and [(one["step"], one["status"]) for one in shutdown["steps"]] == [(step, "running")]


def _steps(output: str) -> list[str]:
    """Return the steps in the order in which they ended, by the log."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    ended = [line for line in lines if line["event"] == "shutdown_step_ended"]
    assert all(line["duration_ms"] >= 0 for line in ended)
    return [line["step"] for line in ended]


async def _send_requests(
    client: httpx2.AsyncClient, statuses: Counter[tuple[str, int]], stopping: asyncio.Event
) -> None:
    while not stopping.is_set():
        statuses["GET", (await client.get("/v1/products")).status_code] += 1
        statuses["POST", (await client.post("/v1/orders", json={})).status_code] += 1
