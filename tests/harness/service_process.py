"""One service as a process, as production runs it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from deploy.local.ports import free_port
from deploy.local.state import CHECKOUT
from tests.harness.waiting import until

UNREACHABLE = "127.0.0.1:9"


@dataclass(frozen=True)
class ServiceProcess:
    """The orders service without Kafka: its process, its port and its log."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        """The URL of the service."""
        return f"http://127.0.0.1:{self.port}"

    async def status_of(self, path: str) -> int | None:
        """Return the status of a GET on a new connection; None without a connection."""
        try:
            async with httpx2.AsyncClient() as client:
                return (await client.get(f"{self.url}{path}")).status_code
        except httpx2.TransportError:
            return None

    def output(self) -> str:
        """Return what the process has printed."""
        return self.log.read_text()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    async def exit_status(self) -> int:
        """Wait for the end of the process."""
        return await asyncio.to_thread(self.process.wait, 60)


def service_environment(database_url: str, valkey_url: str, *, port: int, **settings: str) -> dict[str, str]:
    """Return the environment of the orders service without Kafka."""
    values = {
        "DATABASE_URL": database_url,
        "VALKEY_URL": valkey_url,
        "KAFKA_BOOTSTRAP_SERVERS": UNREACHABLE,
        "HTTP_PORT": str(port),
        "USERS_URL": f"http://{UNREACHABLE}",
        "USERS_TOKEN": "unused",
        **settings,
    }
    return {"PYTHONPATH": str(CHECKOUT), **{f"ORDERS_{name}": value for name, value in values.items()}}


@asynccontextmanager
async def service_process(
    database_url: str, valkey_url: str, *, log: Path, **settings: str
) -> AsyncIterator[ServiceProcess]:
    """Run the orders service; wait until it is ready. `settings` are those of the service, without its prefix."""
    port = free_port()
    environment = service_environment(database_url, valkey_url, port=port, **settings)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: ASYNC220 - its output goes to a file
            [sys.executable, "-m", "services.orders"],
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    service = ServiceProcess(process, port, log)

    async def is_ready() -> bool:
        assert process.poll() is None, service.output()[-3000:]
        return await service.status_of("/health/ready") == 200

    try:
        await until(is_ready, what="the service is ready", poll_seconds=0.1)
        yield service
    finally:
        process.kill()
        process.wait()
