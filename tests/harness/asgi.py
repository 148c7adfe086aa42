"""An HTTP client of an application in this process."""

import httpx2
from starlette.applications import Starlette


def client_of(app: Starlette) -> httpx2.AsyncClient:
    """Return a client whose requests call the application, without a network. Open it with `async with`."""
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://service")
