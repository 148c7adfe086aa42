"""An HTTP client of an application in this process."""

import httpx2
from starlette.applications import Starlette


def client_of(app: Starlette, *, address: str = "127.0.0.1") -> httpx2.AsyncClient:
    """Return a client whose requests call the application, without a network. Open it with `async with`."""
    transport = httpx2.ASGITransport(app=app, client=(address, 123))
    return httpx2.AsyncClient(transport=transport, base_url="http://service")
