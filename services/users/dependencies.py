"""Dependencies of routes of all subjects: who may call them, the settings, and the encryption of secrets.

They are coroutines: FastAPI runs plain functions in a thread pool, which costs more than the look-up.
"""

from typing import Annotated

from fastapi import Depends, Request

from services.users.encryption import Encryption
from services.users.settings import Settings
from shared.errors import Forbidden
from shared.http.auth import ADMINS, NOBODY, STAFF, Permit, admin_only, by_owner


class OwnAccount(Forbidden):
    """Admins can't do this with their own account; ask a colleague."""

    code = "own_account"


READ_ACCOUNT = by_owner(own=STAFF, others=STAFF)
CHANGE_ACCOUNT = by_owner(own=NOBODY, own_denial=OwnAccount, others=ADMINS)
"""Credit limits, roles and the status: admins must not serve themselves."""


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _encryption(request: Request) -> Encryption:
    encryption: Encryption = request.app.state.encryption
    return encryption


ReadAccountPermit = Annotated[Permit, Depends(READ_ACCOUNT)]
ChangeAccountPermit = Annotated[Permit, Depends(CHANGE_ACCOUNT)]
AdminPermit = Annotated[Permit, Depends(admin_only)]
SettingsDep = Annotated[Settings, Depends(_settings)]
EncryptionDep = Annotated[Encryption, Depends(_encryption)]
