"""Access tokens, verified in the process against the users service's published keys.

An access token is a JWT signed with Ed25519, `alg` and `kid` in its header. Its claims: `iss`, `aud`, `sub` (the user's
id), `sid` (the session's id), `roles`, `iat`, `exp`.
"""

import asyncio
import binascii
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import httpx2
import structlog
from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import Key, KeySet

from shared.errors import Problem, Unauthenticated

ALGORITHM = "Ed25519"  # RFC 9864's name; the older "EdDSA" also allowed another curve
AUDIENCE = "orderly"

log = structlog.get_logger(__name__)

KeySource = Callable[[], Awaitable[KeySet]]


class TokenInvalid(Unauthenticated):
    """The access token is not valid."""

    code = "token_invalid"
    challenge = 'Bearer error="invalid_token"'


class TokenExpired(Unauthenticated):
    """The access token has expired."""

    code = "token_expired"
    challenge = 'Bearer error="invalid_token", error_description="expired"'


class KeysUnavailable(Problem):
    """Tokens cannot be checked at the moment."""

    status = 503
    code = "keys_unavailable"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "2"})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling, as the access token says."""

    user_id: UUID
    roles: frozenset[str]
    session_id: UUID | None


def remote_keys(url: str, *, timeout: timedelta = timedelta(seconds=2)) -> KeySource:
    async def fetch() -> KeySet:
        async with httpx2.AsyncClient(timeout=timeout.total_seconds()) as client:
            response = await client.get(url)
        return KeySet.import_key_set(response.raise_for_status().json())

    return fetch


class PublishedKeys:
    """The key set, fetched when a key is unknown or the set is old; what is known survives a failed fetch."""

    def __init__(
        self,
        source: KeySource,
        *,
        keep: timedelta = timedelta(minutes=5),
        pause: timedelta = timedelta(seconds=10),
    ) -> None:
        """`pause` bounds how often an unknown key id may cause a fetch."""
        self._source = source
        self._keep = keep.total_seconds()
        self._pause = pause.total_seconds()
        self._keys: dict[str, Key] = {}
        self._fresh_until = 0.0
        self._fetch_not_before = 0.0
        self._failed = False
        self._fetching = asyncio.Lock()

    async def find(self, key_id: str) -> Key | None:
        if not self._is_fresh(key_id):
            # Where the key is known, one request asks for news and the others need not wait for it.
            if key_id in self._keys and self._fetching.locked():
                return self._keys[key_id]
            async with self._fetching:
                # Tokens with invented key ids must not become requests to the users service.
                if not self._is_fresh(key_id) and time.monotonic() >= self._fetch_not_before:
                    await self._fetch()
        key = self._keys.get(key_id)
        if key is None and self._failed:
            raise KeysUnavailable
        return key

    def _is_fresh(self, key_id: str) -> bool:
        return key_id in self._keys and time.monotonic() < self._fresh_until

    async def _fetch(self) -> None:
        try:
            key_set = await self._source()
        except (httpx2.HTTPError, OSError, ValueError, TypeError, KeyError, JoseError) as error:
            self._failed = True
            log.warning("keys_fetch_failed", error=type(error).__name__)
        else:
            self._failed = False
            self._keys = {key.kid: key for key in key_set.keys if key.kid}
            self._fresh_until = time.monotonic() + self._keep
        # Without any key nobody can be let in: that is worth asking again soon.
        self._fetch_not_before = time.monotonic() + (self._pause if self._keys else min(1.0, self._pause))


@dataclass(frozen=True, slots=True)
class _Verified:
    principal: Principal
    key_id: str
    expires_at: float


class TokenVerifier:
    """A verified token is remembered until it expires: the signature costs 0.16 ms, a look-up a thousandth of it."""

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str,
        leeway: timedelta = timedelta(seconds=5),
        remembered: int = 10_000,
        keys_kept: timedelta = timedelta(minutes=5),
        min_fetch_interval: timedelta = timedelta(seconds=10),
    ) -> None:
        self._keys = PublishedKeys(keys, keep=keys_kept, pause=min_fetch_interval)
        self._leeway = int(leeway.total_seconds())
        self._claims = jwt.JWTClaimsRegistry(
            leeway=self._leeway,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": AUDIENCE},
            sub={"essential": True},
            exp={"essential": True},
        )
        self._remembered = remembered
        self._verified: dict[bytes, _Verified] = {}

    async def verify(self, token: str) -> Principal:
        """Raises: TokenInvalid, TokenExpired, KeysUnavailable."""
        digest = hashlib.sha256(token.encode()).digest()
        verified = self._verified.get(digest)
        if verified is None:
            verified = await self._check(token)
            self._remember(digest, verified)
        elif await self._keys.find(verified.key_id) is None:
            raise TokenInvalid  # its key was withdrawn since
        if verified.expires_at <= time.time():
            raise TokenExpired
        return verified.principal

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        if len(self._verified) >= self._remembered:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = verified

    async def _check(self, token: str) -> _Verified:
        try:
            key_id = jws.extract_compact(token.encode()).headers()["kid"]
            key = await self._keys.find(key_id)
            if key is None:
                raise TokenInvalid
            claims = jwt.decode(token, key, algorithms=[ALGORITHM]).claims
            self._claims.validate(claims)
            session_id = claims.get("sid")
            principal = Principal(
                user_id=UUID(claims["sub"]),
                roles=frozenset(claims.get("roles", [])),
                session_id=UUID(session_id) if session_id else None,
            )
        except ExpiredTokenError as error:
            raise TokenExpired from error
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, binascii.Error) as error:
            raise TokenInvalid from error
        return _Verified(principal, key_id, claims["exp"] + self._leeway)
