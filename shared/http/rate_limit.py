"""Rate limits per caller or IP address.

Requests are counted in Valkey, over a sliding window. Responses carry the IETF RateLimit and RateLimit-Policy headers.
"""

import hashlib
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from math import ceil

from fastapi import Request
from limits import RateLimitItem, parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError

from shared.cache import Cache, Outage
from shared.errors import Problem, TooManyRequests
from shared.http.auth import bearer
from shared.http.request_context import add_response_header
from shared.http.tokens import TokenVerifier

KeyOf = Callable[[Request], Awaitable[str]]
"""Returns the key that a request is counted on."""


RATE_LIMITED_PREFIX = "/v1/"
"""Routes under it have the default limit. Others have none: a 429 to a health probe would restart the process."""


class RateLimited(TooManyRequests):
    """Too many requests in a short time."""

    code = "rate_limited"


class RateLimiter:
    """Counts requests; `app.state.rate_limiter`. While Valkey is unavailable, every request is allowed."""

    def __init__(self, cache: Cache) -> None:
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=f"{cache.prefix}rate",
            connection_pool=cache.client.connection_pool,  # type: ignore[arg-type]  # documented, but not in the signature
        )
        self._windows = SlidingWindowCounterRateLimiter(storage)
        self._outage = Outage("rate_limits_unavailable")

    async def hit(self, limit: RateLimitItem, name: str, key: str) -> tuple[bool, int, float] | None:
        """Count a request; return (allowed, remaining, seconds until the window resets), or None without Valkey."""
        if self._outage.ongoing:
            return None
        # The key is hashed because it may be personal: an e-mail or IP address.
        digest = hashlib.sha256(key.encode()).hexdigest()[:32]
        try:
            allowed = await self._windows.hit(limit, name, digest)
            window = await self._windows.get_window_stats(limit, name, digest)
        except (RedisError, OSError) as error:
            self._outage.report(error)
            return None
        return allowed, window.remaining, max(0.0, window.reset_time - time.time())


async def address(request: Request) -> str:
    """Return a key for the client's IP address."""
    return f"address {request.client.host if request.client else 'unknown'}"


async def caller_or_address(request: Request) -> str:
    """Return a key for the caller, or for the IP address of a request without a valid token."""
    credentials = await bearer(request)
    if credentials:
        verifier: TokenVerifier = request.app.state.token_verifier
        with suppress(Problem):  # the route itself responds to an invalid token
            return f"user {(await verifier.verify(credentials.credentials)).user_id}"
    return await address(request)


class RateLimit:
    """A dependency that limits requests: `Depends(RateLimit("default", "10/minute"))`, or "5 per 10 second"."""

    def __init__(self, name: str, limit: str, *, key: KeyOf = caller_or_address) -> None:
        self._name = name
        self._limit = parse(limit)
        self._key = key

    async def __call__(self, request: Request) -> None:
        """Count the request and add the RateLimit headers to its response. Raises: RateLimited."""
        limiter: RateLimiter = request.app.state.rate_limiter
        window = await limiter.hit(self._limit, self._name, await self._key(request))
        if window is None:
            return
        allowed, remaining, reset_seconds = window
        policy = f'"{self._name}";q={self._limit.amount};w={self._limit.get_expiry()}'
        add_response_header(request, "RateLimit-Policy", policy)
        add_response_header(
            request, "RateLimit", f'"{self._name}";r={remaining if allowed else 0};t={ceil(reset_seconds)}'
        )
        if not allowed:
            raise RateLimited(retry_after=timedelta(seconds=reset_seconds))
