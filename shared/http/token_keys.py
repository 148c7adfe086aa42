"""The keys of access tokens: their algorithm, and the published key set of the users service."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import httpx2
import structlog
from joserfc.errors import InvalidKeyCurveError, JoseError
from joserfc.jwa import EdDSAAlgorithm
from joserfc.jwk import Key, KeySet, OKPKey
from joserfc.jws import JWSRegistry

from shared.errors import Problem

ALGORITHM = "EdDSA"
CURVE = "Ed25519"

logger = structlog.get_logger(__name__)

KeySource = Callable[[], Awaitable[KeySet]]
"""Returns the key set as it is published now."""


class _Ed25519(EdDSAAlgorithm):
    """EdDSA with Ed25519 keys only.

    RFC 9864 deprecates the name EdDSA because it allows several curves. Its new name, Ed25519, is unknown to the
    clients that read our tokens (PyJWT, jose4j), so the curve is restricted here.
    """

    security_warning = ""  # joserfc warns of its own EdDSA at each use

    def check_key(self, key: OKPKey) -> None:
        super().check_key(key)
        if key.curve_name != CURVE:
            raise InvalidKeyCurveError(f"Only {CURVE} keys sign access tokens")


class _Signatures(JWSRegistry):
    algorithms = {ALGORITHM: _Ed25519()}  # noqa: RUF012 - joserfc's own form


SIGNATURES = _Signatures(algorithms=[ALGORITHM])
"""The registry with which access tokens are signed and verified."""


class KeysUnavailable(Problem):
    """Access tokens cannot be verified at the moment."""

    status = 503
    code = "keys_unavailable"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "2"})


class PublishedKeys:
    """The published key set, fetched again when a key is unknown or the set is old.

    A failed fetch keeps the known keys.
    """

    def __init__(
        self,
        source: KeySource,
        *,
        max_age: timedelta = timedelta(minutes=5),
        min_fetch_interval: timedelta = timedelta(seconds=1),
    ) -> None:
        """Fetch at most once per `min_fetch_interval`, however many unknown key ids tokens name."""
        self._source = source
        self._max_age_seconds = max_age.total_seconds()
        self._min_fetch_interval_seconds = min_fetch_interval.total_seconds()
        self._keys: dict[str, Key] = {}
        self._fresh_until = 0.0
        self._fetch_not_before = 0.0
        self._failed = False
        self._fetching = asyncio.Lock()

    async def find(self, key_id: str) -> Key | None:
        """Return a key; None if it is not published. Raises: KeysUnavailable."""
        if not self._is_fresh(key_id):
            # While one request refreshes the set, the others use the key they know instead of waiting.
            if key_id in self._keys and self._fetching.locked():
                return self._keys[key_id]
            async with self._fetching:
                # Tokens with invented key ids must not cause a fetch each.
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
            logger.warning("keys_fetch_failed", error=type(error).__name__)
        else:
            self._failed = False
            self._keys = {key.kid: key for key in key_set.keys if key.kid}
            self._fresh_until = time.monotonic() + self._max_age_seconds
        # Without any key no caller can be verified, so retry sooner.
        interval_seconds = self._min_fetch_interval_seconds
        self._fetch_not_before = time.monotonic() + (interval_seconds if self._keys else min(1.0, interval_seconds))
