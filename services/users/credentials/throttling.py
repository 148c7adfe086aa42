"""Throttling of password guessing: failed sign-ins are counted in Valkey, by account and address."""

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import NamedTuple

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
_EXISTS = "return redis.call('exists', KEYS[1])"
_REMEMBER = "redis.call('set', KEYS[1], '', 'px', ARGV[1]) return 0"

KNOWN_FOR = timedelta(days=30)
"""Time for which an account is known at an address after it has signed in from there."""

IPNetwork = IPv4Network | IPv6Network


class TooManyAttempts(TooManyRequests):
    """There were too many failed attempts to sign in."""

    code = "too_many_attempts"


class SignInLimits(NamedTuple):
    """Upper bounds of failed sign-ins within `window` of the first one."""

    per_account_and_address: int
    per_account: int
    per_address: int
    window: timedelta


class SignInThrottle:
    """Limits failed sign-ins per account and address, per account, and per address, within `window` of the first one.

    An account that has signed in from an address before is known there: only the limit of the two together applies to
    it. So neither guesses at other accounts from that address, nor guesses at this account from elsewhere, lock it out.
    Failures are not added up by address in `shared_networks`, where many clients have the same one.

    While Valkey is down nothing is counted, and only the cost of hashing slows guessing.
    """

    def __init__(self, cache: Cache, *, limits: SignInLimits, shared_networks: Sequence[IPNetwork]) -> None:
        self._cache = cache
        self._limits = limits
        self._shared_networks = shared_networks
        self._outage = Outage("sign_in_throttling_unavailable")

    @asynccontextmanager
    async def attempt(self, *, email: str, address: str, failure: type[Exception]) -> AsyncIterator[None]:
        """Count one attempt, which stays counted only if it ends in a `failure`. Raises: TooManyAttempts."""
        account = email.casefold()
        pair, known = self._key("pair", account, address), self._key("known", account, address)
        limits = {pair: self._limits.per_account_and_address}
        if not await self._run(_EXISTS, known):
            if not self._is_shared(address):
                limits[self._key("address", address)] = self._limits.per_address
            limits[self._key("account", account)] = self._limits.per_account
        await self._count_all(limits)
        try:
            yield
        except failure:
            raise
        except Exception:
            await self._uncount(limits)
            raise
        await self._uncount(limits)
        await self._run(_RESET, pair)
        await self._run(_REMEMBER, known, _milliseconds(KNOWN_FOR))

    async def _count_all(self, limits: Mapping[str, int]) -> None:
        """Count an attempt on every key, or on none: a blocked address must not be able to block accounts."""
        counted: list[str] = []
        try:
            for key, limit in limits.items():
                await self._count(key, limit=limit)
                counted.append(key)
        except TooManyAttempts:
            await self._uncount(counted)
            raise

    async def _uncount(self, keys: Iterable[str]) -> None:
        for key in keys:
            await self._run(_UNCOUNT, key)

    def _is_shared(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._shared_networks)

    async def _count(self, key: str, *, limit: int) -> None:
        blocked_milliseconds = await self._run(_COUNT, key, limit, _milliseconds(self._limits.window))
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

    def _key(self, kind: str, *values: str) -> str:
        # Hashed, because e-mail and IP addresses are personal data.
        digest = hashlib.sha256("\0".join(values).encode()).hexdigest()[:32]
        return f"{self._cache.prefix}sign-in:{kind}:{digest}"


def _milliseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)
