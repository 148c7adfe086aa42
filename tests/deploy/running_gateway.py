"""The gateway as a process, in front of any servers."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from deploy.local.gateway import Gateway
from deploy.local.ports import free_port
from tests.harness.waiting import until


@asynccontextmanager
async def gateway(folder: Path, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Run the gateway. Services without a URL in `options` are away."""
    async with gateway_process(folder, **options) as made:
        program = made.program()
        await until(program.ready, what="the gateway is ready", poll_seconds=0.05)
        async with httpx2.AsyncClient(base_url=program.address, timeout=20) as client:
            yield client


@asynccontextmanager
async def gateway_process(folder: Path, *, routes_file: Path | None = None, **options: Any) -> AsyncIterator[Gateway]:
    """Run the gateway, with other routes than its own if `routes_file` is given; it may not be ready yet."""
    away = f"http://127.0.0.1:{free_port()}"
    urls = {service: options.pop(service, away) for service in ("users", "orders", "notifications")}
    made = Gateway(
        port=free_port(),
        health_port=free_port(),
        service_urls=urls,
        requests_per_second=options.pop("requests_per_second", 1000),
        **options,
    )
    program = made.program()
    other_routes = {"TRAEFIK_PROVIDERS_FILE_FILENAME": str(routes_file)} if routes_file else {}
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - it does not wait for the program
            program.command,
            env={**os.environ, **program.environment, **other_routes},
            cwd=program.working_folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield made
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
