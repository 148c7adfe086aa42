"""Dependencies of routes that make or verify second factors."""

from typing import Annotated

from fastapi import Depends, Request

from services.users.encryption import Encryption
from services.users.passkeys.dependencies import RelyingPartyDep
from services.users.second_factors.verification import Verifier


async def _encryption(request: Request) -> Encryption:
    encryption: Encryption = request.app.state.encryption
    return encryption


EncryptionDep = Annotated[Encryption, Depends(_encryption)]


async def _verifier(encryption: EncryptionDep, party: RelyingPartyDep) -> Verifier:
    return Verifier(encryption, party)


VerifierDep = Annotated[Verifier, Depends(_verifier)]
