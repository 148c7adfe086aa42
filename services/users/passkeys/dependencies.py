"""Dependencies of routes that take passkeys."""

from typing import Annotated

from fastapi import Depends

from services.users.dependencies import SettingsDep
from services.users.passkeys.relying_party import RelyingParty


async def _relying_party(settings: SettingsDep) -> RelyingParty:
    return RelyingParty(settings.webauthn_rp_id, settings.webauthn_origins)


RelyingPartyDep = Annotated[RelyingParty, Depends(_relying_party)]
