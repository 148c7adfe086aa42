"""Dependencies of routes that make or verify second factors."""

from typing import Annotated

from fastapi import Depends

from services.users.dependencies import EncryptionDep
from services.users.passkeys.dependencies import RelyingPartyDep
from services.users.second_factors.verification import Verifier


async def _verifier(encryption: EncryptionDep, party: RelyingPartyDep) -> Verifier:
    return Verifier(encryption, party)


VerifierDep = Annotated[Verifier, Depends(_verifier)]
