"""Issues access tokens like the users service."""

import time
from typing import Any
from uuid import UUID, uuid4

from joserfc import jwt
from joserfc.jwk import KeySet, OKPKey

from shared.http.token_keys import ALGORITHM, SIGNATURES
from shared.http.tokens import TOKEN_TYPE, TokenVerifier


class TokenIssuer:
    """Signs tokens with the first of `keys`, by default a new one; a test may change a claim or the key."""

    def __init__(self, keys: KeySet | None = None) -> None:
        self.keys = keys or KeySet([OKPKey.generate_key("Ed25519", {"kid": "first", "use": "sig"})])
        self.fetches = 0

    async def published(self) -> KeySet:
        """Return the keys, and count the fetch."""
        self.fetches += 1
        return self.keys

    def verifier(self) -> TokenVerifier:
        return TokenVerifier(self.published, issuer="orderly", revocations=None)

    def token(self, *roles: str, user_id: UUID | None = None, key: Any = None, **changes: Any) -> str:
        """Return a token. `changes` replace claims; None removes one."""
        signing = key or self.keys.keys[0]
        now = int(time.time())
        claims = {
            "iss": "orderly",
            "aud": "orderly",
            "sub": str(user_id or uuid4()),
            "sid": str(uuid4()),
            "roles": list(roles),
            "iat": now,
            "exp": now + 900,
        }
        present = {name: value for name, value in (claims | changes).items() if value is not None}
        header = {"alg": ALGORITHM, "kid": signing.kid, "typ": TOKEN_TYPE}
        return jwt.encode(header, present, signing, registry=SIGNATURES)

    def header(self, *roles: str, **changes: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(*roles, **changes)}"}
