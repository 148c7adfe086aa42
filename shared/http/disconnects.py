"""Cancelling work whose client is gone. Neither the server nor FastAPI does it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from shared.errors import Problem

T = TypeVar("T")


class ClientDisconnected(Problem):
    """The client closed the connection before the response."""

    status = 499
    code = "client_disconnected"


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of the work, and cancel it if the client disconnects meanwhile. Raises: ClientDisconnected.

    Call it once the body has been read, and where it is safe to stop: a client that gives up sends the request again.
    """
    task, disconnect = asyncio.create_task(work), asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({task, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnected
    finally:
        task.cancel()
        disconnect.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
