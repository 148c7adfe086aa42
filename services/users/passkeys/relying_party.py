"""The relying party of WebAuthn: options for browsers, and the verification of what they answer. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import structlog
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, options_to_json
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    CredentialDeviceType,
    PublicKeyCredentialCreationOptions,
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialRequestOptions,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from services.users.models.second_factors import Passkey

NAME = "Orderly"
"""The name of the relying party, which browsers show."""
CHALLENGE_LIFETIME = timedelta(minutes=5)
"""Time to answer a challenge; browsers end the dialogue then."""
_TIMEOUT_MILLISECONDS = int(CHALLENGE_LIFETIME.total_seconds() * 1000)

logger = structlog.get_logger(__name__)

Credential = dict[str, Any]
"""The JSON of a PublicKeyCredential, as its `toJSON()` returns it."""


class CredentialInvalid(Exception):
    """The browser's answer does not prove what it should."""


@dataclass(frozen=True)
class NewCredential:
    """A verified registration."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    authenticator_id: UUID
    backup_eligible: bool
    backed_up: bool


@dataclass(frozen=True)
class Assertion:
    """A verified authentication."""

    sign_count: int
    backed_up: bool


@dataclass(frozen=True)
class RelyingParty:
    """The domain that passkeys belong to, and the origins of its pages."""

    id: str
    origins: Sequence[str]

    def creation_options(
        self, *, challenge: bytes, handle: bytes, email: str, name: str, existing: Sequence[Passkey]
    ) -> dict[str, Any]:
        """Return the options for `navigator.credentials.create()`.

        They ask for a discoverable credential, which signs in without an e-mail address, for user verification, and
        for no attestation. An authenticator that has one of the `existing` passkeys already refuses.
        """
        options = generate_registration_options(
            rp_id=self.id,
            rp_name=NAME,
            user_id=handle,
            user_name=email,
            user_display_name=name,
            challenge=challenge,
            timeout=_TIMEOUT_MILLISECONDS,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
            exclude_credentials=[_descriptor(passkey) for passkey in existing],
        )
        return _json_of(options)

    def request_options(self, *, challenge: bytes) -> dict[str, Any]:
        """Return the options for `navigator.credentials.get()`, which offer every passkey of this domain."""
        options = generate_authentication_options(
            rp_id=self.id,
            challenge=challenge,
            timeout=_TIMEOUT_MILLISECONDS,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return _json_of(options)

    def verify_registration(self, credential: Credential, *, challenge: bytes) -> NewCredential:
        """Verify the answer to creation options. Raises: CredentialInvalid."""
        try:
            verified = verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=list(self.origins),
                require_user_verification=True,
            )
            return NewCredential(
                credential_id=verified.credential_id,
                public_key=verified.credential_public_key,
                sign_count=verified.sign_count,
                authenticator_id=UUID(verified.aaguid),
                backup_eligible=verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE,
                backed_up=verified.credential_backed_up,
            )
        except Exception as error:  # parsers of CBOR, COSE and X.509 raise anything for hostile bytes
            raise _invalid("registration", error) from error

    def verify_assertion(self, credential: Credential, *, challenge: bytes, passkey: Passkey) -> Assertion:
        """Verify the answer to request options, except the signature counter. Raises: CredentialInvalid."""
        try:
            verified = verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=list(self.origins),
                credential_public_key=passkey.public_key,
                credential_current_sign_count=0,  # the caller compares it, to tell a copied passkey from a forged one
                require_user_verification=True,
            )
            backup_eligible = verified.credential_device_type is CredentialDeviceType.MULTI_DEVICE
            if backup_eligible != passkey.backup_eligible:
                raise CredentialInvalid("backup eligibility changed")
            return Assertion(verified.new_sign_count, verified.credential_backed_up)
        except Exception as error:
            raise _invalid("assertion", error) from error


def challenge_of(credential: Credential) -> bytes:
    """Return the challenge that a credential answers, not verified yet. Raises: CredentialInvalid."""
    try:
        client_data = orjson.loads(base64url_to_bytes(credential["response"]["clientDataJSON"]))
        if client_data.get("crossOrigin"):
            raise CredentialInvalid("used in a frame of another origin")
        return base64url_to_bytes(client_data["challenge"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _invalid("client data", error) from error


def _invalid(what: str, error: Exception) -> CredentialInvalid:
    # Only the type: the text of some errors holds the input.
    logger.info("passkey_rejected", what=what, error=type(error).__name__)
    return CredentialInvalid(f"{what}: {type(error).__name__}")


def _json_of(options: PublicKeyCredentialCreationOptions | PublicKeyCredentialRequestOptions) -> dict[str, Any]:
    json: dict[str, Any] = orjson.loads(options_to_json(options))
    return json


def _descriptor(passkey: Passkey) -> PublicKeyCredentialDescriptor:
    transports = [AuthenticatorTransport(name) for name in passkey.transports]
    return PublicKeyCredentialDescriptor(id=passkey.credential_id, transports=transports)
