"""Throttling of password guessing: failed sign-ins are counted in Valkey, for each account and each address."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from redis.exceptions import RedisError

from shared.cache import Cache, Outage
from shared.errors import TooManyRequests

# An attempt is counted before its password is checked and uncounted if it was right. Counted afterwards, many
# simultaneous attempts would all pass.
_COUNT = """
if tonumber(redis.call('get', KEYS[1]) or '0') >= tonumber(ARGV[1]) then return redis.call('pttl', KEYS[1]) end
if redis.call('incr', KEYS[1]) == 1 then redis.call('pexpire', KEYS[1], ARGV[2]) end
return 0
"""
_UNCOUNT = "if tonumber(redis.call('get', KEYS[1]) or '0') > 0 then redis.call('decr', KEYS[1]) end return 0"
_RESET = "return redis.call('unlink', KEYS[1])"


class TooManyAttempts(TooManyRequests):
    """There were too many failed attempts to sign in."""

    code = "too_many_attempts"


class SignInThrottle:
    """Limits failed sign-ins per account and per address, within `window` of the first failure.

    While Valkey is down nothing is counted, and only the cost of hashing slows guessing.
    """

    def __init__(self, cache: Cache, *, per_account: int, per_address: int, window: timedelta) -> None:
        self._cache = cache
        self._per_account = per_account
        self._per_address = per_address
        self._window = window
        self._outage = Outage("sign_in_throttling_unavailable")

    @asynccontextmanager
    async def attempt(self, *, email: str, address: str, failure: type[Exception]) -> AsyncIterator[None]:
        """Count one attempt, which stays counted only if it ends in a `failure`. Raises: TooManyAttempts."""
        account_key, address_key = self._key("account", email.casefold()), self._key("address", address)
        # The address comes first: a blocked one must not be able to block accounts.
        await self._count(address_key, limit=self._per_address)
        await self._count(account_key, limit=self._per_account)
        try:
            yield
        except failure:
            raise
        except Exception:
            await self._run(_UNCOUNT, account_key)
            await self._run(_UNCOUNT, address_key)
            raise
        await self._run(_RESET, account_key)
        await self._run(_UNCOUNT, address_key)

    async def _count(self, key: str, *, limit: int) -> None:
        blocked_milliseconds = await self._run(_COUNT, key, limit, int(self._window.total_seconds() * 1000))
        if blocked_milliseconds:
            raise TooManyAttempts(retry_after=timedelta(milliseconds=blocked_milliseconds))

    async def _run(self, script: str, key: str, *arguments: int) -> int:
        if self._outage.ongoing:
            return 0
        try:
            return int(await self._cache.client.eval(script, 1, key, *map(str, arguments)))
        except (RedisError, OSError) as error:
            self._outage.report(error)
            return 0

    def _key(self, kind: str, value: str) -> str:
        # Hashed, because e-mail and IP addresses are personal data.
        return f"{self._cache.prefix}sign-in:{kind}:{hashlib.sha256(value.encode()).hexdigest()[:32]}"
