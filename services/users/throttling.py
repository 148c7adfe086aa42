"""Guessing of passwords, counted in Valkey for each account and each address."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from redis.exceptions import RedisError

from shared.cache import Cache, Outage
from shared.errors import TooManyRequests, Unauthenticated

# Counted before the guess and taken back after a right one: counted afterwards, many at once would all get through.
_TAKE = """
if tonumber(redis.call('get', KEYS[1]) or '0') >= tonumber(ARGV[1]) then return redis.call('pttl', KEYS[1]) end
if redis.call('incr', KEYS[1]) == 1 then redis.call('pexpire', KEYS[1], ARGV[2]) end
return 0
"""
_GIVE_BACK = "if tonumber(redis.call('get', KEYS[1]) or '0') > 0 then redis.call('decr', KEYS[1]) end return 0"


class CredentialsInvalid(Unauthenticated):
    """The e-mail address or the password is wrong."""

    code = "credentials_invalid"


class TooManyAttempts(TooManyRequests):
    """Too many failed attempts to sign in."""

    code = "too_many_attempts"


class SignInThrottle:
    """Failures count for `window` from the first one on. When Valkey is down, hashing alone slows guessing."""

    def __init__(self, cache: Cache, *, per_account: int, per_address: int, window: timedelta) -> None:
        self._cache = cache
        self._per_account = per_account
        self._per_address = per_address
        self._window = window
        self._outage = Outage("sign_in_throttling_unavailable")

    @asynccontextmanager
    async def counted(self, *, email: str, address: str) -> AsyncIterator[None]:
        """Around one attempt, which stays counted if it ends in CredentialsInvalid. Raises: TooManyAttempts."""
        account_key, address_key = self._key("account", email.casefold()), self._key("address", address)
        # The address first: one that is refused must not go on to lock accounts.
        await self._take(address_key, limit=self._per_address)
        await self._take(account_key, limit=self._per_account)
        try:
            yield
        except CredentialsInvalid:
            raise
        except Exception:
            await self._run(_GIVE_BACK, account_key)
            await self._run(_GIVE_BACK, address_key)
            raise
        await self._run("return redis.call('unlink', KEYS[1])", account_key)
        await self._run(_GIVE_BACK, address_key)

    async def _take(self, key: str, *, limit: int) -> None:
        milliseconds = await self._run(_TAKE, key, limit, int(self._window.total_seconds() * 1000))
        if milliseconds:
            raise TooManyAttempts(retry_after=timedelta(milliseconds=milliseconds))

    async def _run(self, script: str, key: str, *arguments: int) -> int:
        if self._outage.ongoing:
            return 0
        try:
            return int(await self._cache.client.eval(script, 1, key, *map(str, arguments)))
        except (RedisError, OSError) as error:
            self._outage.report(error)
            return 0

    def _key(self, kind: str, value: str) -> str:
        # Hashed, because both say something of a person.
        return f"{self._cache.prefix}sign-in:{kind}:{hashlib.sha256(value.encode()).hexdigest()[:32]}"
