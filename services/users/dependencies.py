"""The dependency of all routes: the settings.

It is a coroutine: FastAPI runs plain functions in a thread pool, which costs more than the look-up.
"""

from typing import Annotated

from fastapi import Depends, Request

from services.users.settings import Settings


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


SettingsDep = Annotated[Settings, Depends(_settings)]
