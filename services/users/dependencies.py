"""Dependencies of several packages: the settings, and the encryption of secrets.

They are coroutines: FastAPI runs plain functions in a thread pool, which costs more than the look-up.
"""

from typing import Annotated

from fastapi import Depends, Request

from services.users.encryption import Encryption
from services.users.settings import Settings


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _encryption(request: Request) -> Encryption:
    encryption: Encryption = request.app.state.encryption
    return encryption


SettingsDep = Annotated[Settings, Depends(_settings)]
EncryptionDep = Annotated[Encryption, Depends(_encryption)]
