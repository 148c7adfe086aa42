"""Dependencies of routes that take passkeys."""

from typing import Annotated

from fastapi import Depends

from services.users.dependencies import SettingsDep
from services.users.passkeys.queries import PasskeyNotFound
from services.users.passkeys.relying_party import RelyingParty
from shared.http.auth import NOBODY, SIGNED_IN, Permit, by_owner

OWN_PASSKEY = by_owner(own=SIGNED_IN, others=NOBODY, others_denial=PasskeyNotFound)


async def _relying_party(settings: SettingsDep) -> RelyingParty:
    return RelyingParty(settings.webauthn_rp_id, settings.webauthn_origins)


OwnPasskeyPermit = Annotated[Permit, Depends(OWN_PASSKEY)]
RelyingPartyDep = Annotated[RelyingParty, Depends(_relying_party)]
