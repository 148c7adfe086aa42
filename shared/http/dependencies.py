"""Dependencies on the application's state.

All are coroutines: FastAPI runs plain functions in a thread pool, which costs more than the look-up.
"""

from typing import Annotated

from fastapi import Depends, Request

from shared.cache import Cache
from shared.database import Sessions


async def database_sessions(request: Request) -> Sessions:
    """Return the service's session factory. A route that depends on it documents DatabaseUnavailable."""
    sessions: Sessions = request.app.state.sessions
    return sessions


async def _cache(request: Request) -> Cache:
    cache: Cache = request.app.state.cache
    return cache


SessionsDep = Annotated[Sessions, Depends(database_sessions)]
"""The route opens its own transaction, `async with sessions.begin()`, and responds after the commit."""
CacheDep = Annotated[Cache, Depends(_cache)]
