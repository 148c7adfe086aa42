"""An application in this process: an HTTP client of it, and a socket that it serves."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import uvicorn
from starlette.applications import Starlette


def client_of(app: Starlette, *, address: str = "127.0.0.1") -> httpx2.AsyncClient:
    """Return a client whose requests call the application, without a network. Open it with `async with`."""
    transport = httpx2.ASGITransport(app=app, client=(address, 123))
    return httpx2.AsyncClient(transport=transport, base_url="http://service")


@asynccontextmanager
async def served(app: Starlette) -> AsyncIterator[str]:
    """Serve the application at a free port, without its lifespan, and yield its URL: for clients that need a socket."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
