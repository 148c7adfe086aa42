"""The server of a real process: not ready before it stops serving, and idle connections that outlive the gateway's."""

import asyncio
import http.client
import re
import time
from pathlib import Path

from deploy.local.state import CHECKOUT
from shared.server import KEEP_ALIVE_TIMEOUT_SECONDS
from tests.harness.databases import DatabaseFactory
from tests.harness.service_process import service_process
from tests.harness.waiting import until


def post(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    """Send a POST that the service answers with 401, because it has no token."""
    connection.request("POST", "/v1/orders", body=b"{}", headers={"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    return response


async def test_a_stopping_process_is_not_ready_and_serves_until_a_second_signal(
    database_factory: DatabaseFactory, valkey_url: str, tmp_path: Path
) -> None:
    """uvicorn closes its listener at once: the gateway still sent requests, and none of them got a response."""
    async with service_process(
        await database_factory("orders"), valkey_url, log=tmp_path / "log", SHUTDOWN_DELAY_SECONDS="300"
    ) as service:
        idle = http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)
        assert post(idle).status == 401
        used_at = time.monotonic()
        service.terminate()

        async def is_unready() -> bool:
            return await service.status_of("/health/ready") == 503

        await until(is_unready, what="the service is not ready")
        assert await service.status_of("/health/live") == 200
        # uvicorn's default closes a connection that was idle for 5 seconds.
        await asyncio.sleep(used_at + 5.5 - time.monotonic())
        response = post(idle)
        assert (response.status, response.getheader("Connection")) == (401, "close")
        idle.close()
        service.terminate()
        assert await service.exit_status() == 0
    assert "service_stopped" in service.output()


async def test_a_stopping_process_exits_after_the_delay(
    database_factory: DatabaseFactory, valkey_url: str, tmp_path: Path
) -> None:
    async with service_process(
        await database_factory("orders"), valkey_url, log=tmp_path / "log", SHUTDOWN_DELAY_SECONDS="1"
    ) as service:
        signalled_at = time.monotonic()
        service.terminate()
        assert await service.exit_status() == 0
    assert time.monotonic() - signalled_at >= 1
    assert "service_stopped" in service.output()


def test_the_gateway_closes_idle_connections_before_the_services() -> None:
    (idle_seconds,) = re.findall(r"idleConnTimeout: (\d+)s", (CHECKOUT / "deploy/gateway/dynamic.yaml").read_text())
    assert int(idle_seconds) + 10 <= KEEP_ALIVE_TIMEOUT_SECONDS
