"""Rate limits per caller or IP address.

Requests are counted in Valkey, over a sliding window. Responses carry the IETF RateLimit and RateLimit-Policy headers.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from math import ceil
from typing import NamedTuple

from fastapi import Request
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

_LIMIT = re.compile(r"(?P<requests>[1-9]\d*) *(?:/|per) *(?P<count>[1-9]\d*)? *(?P<unit>second|minute|hour|day)s?")
_UNIT_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}

# Sliding window counters, one for each key. A window begins with a first request; the count of the previous window has
# the weight of the part of it that the last `window` milliseconds still cover. A request counts on every key, or on
# none if one of them rejects it. Returns for each key whether it allows the request, how many more it does, and the
# milliseconds until its count goes down. The clock is Valkey's, so that all processes count alike. One script: the
# `limits` package needs two round trips for each key.
_HIT = """
local clock = redis.call('time')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local states, all_allow = {}, true
for i, key in ipairs(KEYS) do
    local limit, window = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    local stored = redis.call('hmget', key, 'began', 'current', 'previous')
    local began, current, previous = tonumber(stored[1]) or 0, tonumber(stored[2]) or 0, tonumber(stored[3]) or 0
    if now >= began + 2 * window then
        began, current, previous = now, 0, 0
    elseif now >= began + window then
        began, current, previous = began + window, 0, current
    end
    local left = began + window - now
    local used = math.floor(previous * left / window) + current
    local allows = used < limit
    all_allow = all_allow and allows
    states[i] = {began, current, previous, left, window, used, limit, allows}
end
local answer = {}
for i, key in ipairs(KEYS) do
    local began, current, previous, left, window, used, limit, allows = unpack(states[i])
    if all_allow then
        used = used + 1
        redis.call('hset', key, 'began', began, 'current', current + 1, 'previous', previous)
        redis.call('pexpire', key, left + window)
    end
    local reset = previous > 0 and left % (window / previous) or left
    answer[i] = {allows and 1 or 0, math.max(limit - used, 0), math.ceil(reset)}
end
return answer
"""


class RateLimited(TooManyRequests):
    """Too many requests in a short time."""

    code = "rate_limited"


class Limit(NamedTuple):
    """The number of requests that are allowed in a window of time."""

    requests: int
    window_seconds: int

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """Parse "10/minute" or "5 per 10 second". Raises: ValueError."""
        match = _LIMIT.fullmatch(text.strip().lower())
        if match is None:
            raise ValueError(f"{text!r} is no rate limit such as 10/minute")
        return cls(int(match["requests"]), int(match["count"] or 1) * _UNIT_SECONDS[match["unit"]])


class Hit(NamedTuple):
    """The answer of one limit to a request."""

    allowed: bool
    remaining: int
    reset_seconds: float
    """Time until the count goes down."""


class Counted(NamedTuple):
    """One key that a request is counted on, with its limit."""

    limit: Limit
    name: str
    key: str


class RateLimiter:
    """Counts requests; `app.state.rate_limiter`. While Valkey is unavailable, every request is allowed."""

    def __init__(self, cache: Cache) -> None:
        self._prefix = f"{cache.prefix}rate:"
        self._hit = cache.client.register_script(_HIT)
        self._outage = Outage("rate_limits_unavailable")

    async def hit(self, limit: Limit, name: str, key: str) -> Hit | None:
        """Count a request on one key. Return None without Valkey."""
        hits = await self.hit_all([Counted(limit, name, key)])
        return None if hits is None else hits[0]

    async def hit_all(self, counted: Sequence[Counted]) -> list[Hit] | None:
        """Count a request on every key, or on none if one of them rejects it. Return None without Valkey."""
        if self._outage.ongoing:
            return None
        arguments = [value for each in counted for value in (each.limit.requests, each.limit.window_seconds * 1000)]
        try:
            hits = await self._hit(keys=[self._stored_key(each) for each in counted], args=arguments)
        except (RedisError, OSError) as error:
            self._outage.report(error)
            return None
        return [Hit(bool(allowed), remaining, milliseconds / 1000) for allowed, remaining, milliseconds in hits]

    def _stored_key(self, counted: Counted) -> str:
        # The key is hashed because it may be personal: an e-mail or IP address.
        return f"{self._prefix}{counted.name}:{hashlib.sha256(counted.key.encode()).hexdigest()[:32]}"


def client_address(request: Request) -> str:
    """Return the client's IP address, as a trusted proxy forwarded it."""
    return request.client.host if request.client else "unknown"


async def address(request: Request) -> str:
    """Return a key for the client's IP address."""
    return f"address {client_address(request)}"


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
        self._limit = Limit.parse(limit)
        self._key = key

    async def __call__(self, request: Request) -> None:
        """Count the request and add the RateLimit headers to its response. Raises: RateLimited."""
        limiter: RateLimiter = request.app.state.rate_limiter
        window = await limiter.hit(self._limit, self._name, await self._key(request))
        if window is None:
            return
        add_rate_limit_headers(request, self._name, self._limit, window)
        if not window.allowed:
            raise RateLimited(retry_after=timedelta(seconds=window.reset_seconds))


def add_rate_limit_headers(request: Request, name: str, limit: Limit, hit: Hit) -> None:
    """Add the RateLimit headers of one limit to the response."""
    remaining = hit.remaining if hit.allowed else 0
    add_response_header(request, "RateLimit-Policy", f'"{name}";q={limit.requests};w={limit.window_seconds}')
    add_response_header(request, "RateLimit", f'"{name}";r={remaining};t={ceil(hit.reset_seconds)}')
