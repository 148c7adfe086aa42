"""A second HTTP server of the process, beside the one of the pages: it lives as long as the application."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette

MAX_CONNECTIONS = 100
"""Connections at once. A process of a service has two: for traces, and for logs."""
IDLE_TIMEOUT_SECONDS = 75
SHUTDOWN_TIMEOUT_SECONDS = 2


class _SecondServer(uvicorn.Server):
    """Leaves the signals to the first server of the process, whose application ends this one."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(app: Starlette, *, host: str, port: int) -> AsyncIterator[int]:
    """Serve an application until the block ends, and yield the port. Raises: OSError if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=IDLE_TIMEOUT_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
    )
    server = _SecondServer(config)
    serve = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serve
