"""What routes ask the application for. Coroutines all: FastAPI would send plain functions to a thread each time."""

from typing import Annotated

from fastapi import Depends, Request

from shared.cache import Cache
from shared.database import Sessions


async def database_sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


async def _cache(request: Request) -> Cache:
    cache: Cache = request.app.state.cache
    return cache


SessionsDep = Annotated[Sessions, Depends(database_sessions)]
"""The route opens its transaction itself, `async with sessions.begin()`, and answers after the commit."""
CacheDep = Annotated[Cache, Depends(_cache)]
