"""A WebAuthn authenticator in software: it answers options as browsers do, and can be told to answer wrongly."""

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url

USER_PRESENT, USER_VERIFIED, BACKUP_ELIGIBLE, BACKED_UP, HAS_CREDENTIAL = 0x01, 0x04, 0x08, 0x10, 0x40
_ALGORITHM_EDDSA, _KEY_TYPE_OKP, _CURVE_ED25519 = -8, 1, 6


@dataclass
class Authenticator:
    """One authenticator with one credential."""

    origin: str = "http://localhost:8080"
    flags: int = USER_PRESENT | USER_VERIFIED
    sign_count: int = 0
    counts: bool = True
    """Whether the counter grows; those of synchronised passkeys stay 0."""
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    user_handle: bytes = b""
    client_data: dict[str, Any] = field(default_factory=dict)
    """Members of the client data that replace the right ones."""

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """Answer `navigator.credentials.create()`."""
        self.user_handle = base64url_to_bytes(options["user"]["id"])
        public_key = {
            1: _KEY_TYPE_OKP,
            3: _ALGORITHM_EDDSA,
            -1: _CURVE_ED25519,
            -2: self.key.public_key().public_bytes_raw(),
        }
        credential = (
            bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id + cbor2.dumps(public_key)
        )
        data = self._authenticator_data(options["rp"]["id"], flags=self.flags | HAS_CREDENTIAL) + credential
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client_data = self._client_data("webauthn.create", options)
        response = {"attestationObject": bytes_to_base64url(attestation), "transports": ["internal", "hybrid"]}
        return self._credential(response, client_data)

    def get(self, options: dict[str, Any]) -> dict[str, Any]:
        """Answer `navigator.credentials.get()`."""
        self.sign_count += self.counts
        data = self._authenticator_data(options["rpId"], flags=self.flags)
        client_data = self._client_data("webauthn.get", options)
        response = {
            "authenticatorData": bytes_to_base64url(data),
            "signature": bytes_to_base64url(self.key.sign(data + hashlib.sha256(client_data).digest())),
            "userHandle": bytes_to_base64url(self.user_handle) if self.user_handle else None,
        }
        return self._credential(response, client_data)

    def _authenticator_data(self, rp_id: str, *, flags: int) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.sign_count.to_bytes(4, "big")

    def _client_data(self, type_: str, options: dict[str, Any]) -> bytes:
        right = {"type": type_, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": False}
        return json.dumps(right | self.client_data).encode()

    def _credential(self, response: dict[str, Any], client_data: bytes) -> dict[str, Any]:
        encoded_id = bytes_to_base64url(self.credential_id)
        return {
            "id": encoded_id,
            "rawId": encoded_id,
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response | {"clientDataJSON": bytes_to_base64url(client_data)},
        }
