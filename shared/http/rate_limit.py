"""Rate limits per caller or address, counted in Valkey by a sliding window, told in the IETF RateLimit fields."""

import hashlib
import inspect
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

KeyOf = Callable[[Request], str | Awaitable[str]]


class RateLimited(TooManyRequests):
    """Too many requests in a short time."""

    code = "rate_limited"


class RateLimiter:
    """Lives at `app.state.rate_limiter`. When Valkey is down it lets everything pass."""

    def __init__(self, cache: Cache) -> None:
        storage = RedisStorage(
            "async+redis://",
            implementation="redispy",
            key_prefix=f"{cache.prefix}rate",
            connection_pool=cache.client.connection_pool,  # type: ignore[arg-type]  # documented, but not in the signature
        )
        self._windows = SlidingWindowCounterRateLimiter(storage)
        self._outage = Outage("rate_limits_unavailable")

    async def spend(self, item: RateLimitItem, name: str, key: str) -> tuple[bool, int, float] | None:
        """(allowed, remaining, seconds until more is allowed), or None when nothing can be counted."""
        if self._outage.ongoing:
            return None
        # Hashed, because a key may be an address of a person.
        digest = hashlib.sha256(key.encode()).hexdigest()[:32]
        try:
            allowed = await self._windows.hit(item, name, digest)
            window = await self._windows.get_window_stats(item, name, digest)
        except (RedisError, OSError) as error:
            self._outage.report(error)
            return None
        return allowed, window.remaining, max(0.0, window.reset_time - time.time())


async def address(request: Request) -> str:
    return f"address {request.client.host if request.client else 'unknown'}"


async def caller_or_address(request: Request) -> str:
    credentials = await bearer(request)
    if credentials:
        verifier: TokenVerifier = request.app.state.token_verifier
        with suppress(Problem):  # whoever has no valid token is counted by address; the route refuses it
            return f"user {(await verifier.verify(credentials.credentials)).user_id}"
    return await address(request)


class RateLimit:
    """A dependency: `Depends(rate_limit("sign-in", "10/minute", key=address))`."""

    def __init__(self, name: str, limit: str, *, key: KeyOf) -> None:
        self._name = name
        self._item = parse(limit)
        self._key = key

    async def __call__(self, request: Request) -> None:
        key = self._key(request)
        await self.spend(request, key=await key if inspect.isawaitable(key) else key)

    async def spend(self, request: Request, *, key: str) -> None:
        """For keys that only the route knows, such as the account of a sign-in. Raises: RateLimited."""
        limiter: RateLimiter = request.app.state.rate_limiter
        spent = await limiter.spend(self._item, self._name, key)
        if spent is None:
            return
        allowed, remaining, seconds = spent
        window = self._item.get_expiry()
        add_response_header(request, "RateLimit-Policy", f'"{self._name}";q={self._item.amount};w={window}')
        add_response_header(request, "RateLimit", f'"{self._name}";r={remaining if allowed else 0};t={ceil(seconds)}')
        if not allowed:
            raise RateLimited(retry_after=timedelta(seconds=seconds))


def rate_limit(name: str, limit: str, *, key: KeyOf = caller_or_address) -> RateLimit:
    """`limit` as "10/minute" or "5 per 10 second"."""
    return RateLimit(name, limit, key=key)
