"""An application of this process, served over HTTP for the services that ask it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette

from tests.harness.waiting import until


@asynccontextmanager
async def served(app: Starlette, *, port: int) -> AsyncIterator[None]:
    """Serve an application on 127.0.0.1, without its lifespan, until the block ends."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())

    async def has_started() -> bool:
        return server.started or serving.done()

    await until(has_started, what="the server listens")
    try:
        yield
    finally:
        server.should_exit = True
        await serving
