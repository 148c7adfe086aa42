"""Access tokens: JWTs that the signing key of the moment signs."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from joserfc import jwt

from services.users.models.accounts import UserAccount
from services.users.models.sessions import AuthenticationMethod
from services.users.sessions.key_ring import KeyRing
from shared.http.token_keys import ALGORITHM, SIGNATURES
from shared.http.tokens import AUDIENCE, TOKEN_TYPE
from shared.ids import new_id


class AccessTokens:
    """Issues access tokens."""

    def __init__(self, keys: KeyRing, *, issuer: str, lifetime: timedelta) -> None:
        self.keys = keys
        self._issuer = issuer
        self._lifetime_seconds = int(lifetime.total_seconds())

    async def issue(
        self,
        account: UserAccount,
        *,
        session_id: UUID,
        methods: Sequence[AuthenticationMethod] = ("pwd",),
        authenticated_at: datetime | None = None,
        ends_at: datetime | None = None,
    ) -> tuple[str, int]:
        """Return a signed token for an account in a session that ends at a time, and the seconds until it expires.

        Raises: SigningKeyUnreadable, errors of the database.
        """
        key = await self.keys.signing_key()
        issued_at = int(time.time())
        expires_at = issued_at + self._lifetime_seconds
        if ends_at is not None:
            expires_at = max(min(expires_at, int(ends_at.timestamp())), issued_at)
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": str(account.id),
            "sid": str(session_id),
            "roles": account.roles,
            "iat": issued_at,
            "exp": expires_at,
            "jti": str(new_id()),
            "auth_time": int(authenticated_at.timestamp()) if authenticated_at else issued_at,
            "amr": list(methods),
        }
        header = {"alg": ALGORITHM, "kid": key.kid, "typ": TOKEN_TYPE}
        return jwt.encode(header, claims, key, registry=SIGNATURES), expires_at - issued_at
