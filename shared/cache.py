"""Read-through cache in Valkey: one load per miss, no stale value after a change, no failure while Valkey is down."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar

import structlog
from pydantic import TypeAdapter, ValidationError
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

logger = structlog.get_logger(__name__)
T = TypeVar("T")

DEFAULT_LEASE = timedelta(seconds=2)
"""Time for which a reader may load a value while others wait for it. Must be longer than a load: after it, the others
load the value themselves."""
DEFAULT_TIMEOUT = timedelta(milliseconds=250)
"""Upper bound of the time to connect to Valkey; a response may take twice as long. After it, the request continues
without the cache."""
_POLL_SECONDS = 0.02

# Returns the value; without one, 1 if the caller now holds the lease, 0 if another reader does. It is one script:
# between two commands another reader could take the lease, load, store and release, and a second load would follow.
_GET_OR_LEASE = """
local value = redis.call('get', KEYS[1])
if value then return value end
return redis.call('set', KEYS[2], ARGV[1], 'nx', 'px', ARGV[2]) and 1 or 0
"""
# Only the holder of the lease may store. `invalidate` deletes the lease too, so that a load that began before a change
# cannot store the old value after it.
_STORE = """
if redis.call('get', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3])
return redis.call('del', KEYS[2])
"""
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class OtherVersion(ValueError):
    """The stored value has another version: processes of another release have stored it."""


@dataclass
class Outage:
    """Skips Valkey for a second after each error, and logs at most one warning every 30 seconds."""

    event: str
    _until: float = field(default=0.0, init=False)
    _silent_until: float = field(default=0.0, init=False)

    @property
    def ongoing(self) -> bool:
        """Return whether Valkey is skipped now."""
        return time.monotonic() < self._until

    def report(self, error: Exception) -> None:
        """Note an error of Valkey."""
        now = time.monotonic()
        self._until = now + 1
        if now >= self._silent_until:
            self._silent_until = now + 30
            logger.warning(self.event, error=type(error).__name__)


@dataclass(frozen=True)
class Cache:
    """The cache of one service. `prefix` separates the keys of services that share a Valkey."""

    client: Redis
    prefix: str
    lease: timedelta = DEFAULT_LEASE
    _outage: Outage = field(default_factory=lambda: Outage("cache_unavailable"), init=False)

    async def get_or_load(
        self, key: str, *, ttl: timedelta, load: Callable[[], Awaitable[T]], model: type[T], version: int
    ) -> T:
        """Return the stored value, or load and store it. Of concurrent readers in all processes, only one loads.

        `version`: of the form and the meaning of the value; raise it when either changes. A value of another version
        counts as a miss. The version is no part of the key, so that processes of two releases invalidate each other's
        values.
        """
        adapter: TypeAdapter[T] = _adapter_of(model)  # type: ignore[arg-type]  # every type is hashable
        token = secrets.token_hex(8)
        deadline = time.monotonic() + self.lease.total_seconds()
        while not self._outage.ongoing and time.monotonic() < deadline:
            try:
                found = await self._get_or_lease(key, token)
                if isinstance(found, bytes):
                    return adapter.validate_json(_content_of(found, version=version))
            except (ValidationError, OtherVersion):
                await self.invalidate(key)
                break
            except (RedisError, OSError) as error:
                self._outage.report(error)
                break
            if found:
                return await self._load_under_lease(key, token, ttl=ttl, load=load, adapter=adapter, version=version)
            await asyncio.sleep(_POLL_SECONDS)
        return await load()

    async def invalidate(self, *keys: str) -> None:
        """Delete stored values. Call it after the commit. While Valkey is unreachable, they stay until their TTL."""
        try:
            await self.client.unlink(*(name for key in keys for name in (self._value(key), self._lease(key))))
        except (RedisError, OSError) as error:
            self._outage.report(error)

    async def ping(self) -> None:
        """Check that Valkey answers. Raises: RedisError, OSError."""
        await self.client.ping()

    async def close(self) -> None:
        """Close all connections."""
        await self.client.aclose(close_connection_pool=True)

    async def _get_or_lease(self, key: str, token: str) -> bytes | int:
        """Return the stored value, or whether the lease was taken."""
        keys = [self._value(key), self._lease(key)]
        found: bytes | int = await self.client.eval(_GET_OR_LEASE, len(keys), *keys, token, _milliseconds(self.lease))
        return found

    async def _load_under_lease(
        self,
        key: str,
        token: str,
        *,
        ttl: timedelta,
        load: Callable[[], Awaitable[T]],
        adapter: TypeAdapter[T],
        version: int,
    ) -> T:
        try:
            value = await load()
        except BaseException:
            await self._run_script(_RELEASE, [self._lease(key)], [token])
            raise
        arguments = [token, b"%d:%b" % (version, adapter.dump_json(value)), _milliseconds(ttl)]
        await self._run_script(_STORE, [self._value(key), self._lease(key)], arguments)
        return value

    async def _run_script(self, script: str, keys: list[str], arguments: list[Any]) -> None:
        try:
            await self.client.eval(script, len(keys), *keys, *arguments)
        except (RedisError, OSError) as error:
            self._outage.report(error)

    def _value(self, key: str) -> str:
        return f"{self.prefix}cache:{{{key}}}"

    def _lease(self, key: str) -> str:
        return f"{self.prefix}lease:{{{key}}}"


@lru_cache
def _adapter_of(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)


def _content_of(stored: bytes, *, version: int) -> bytes:
    """Return the JSON of a stored value. Raises: OtherVersion."""
    stamp, _, content = stored.partition(b":")
    if stamp != b"%d" % version:
        raise OtherVersion
    return content


def _milliseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)


def open_cache(
    valkey_url: str, *, prefix: str = "", lease: timedelta = DEFAULT_LEASE, timeout: timedelta = DEFAULT_TIMEOUT
) -> Cache:
    """Return a cache. It connects at its first use."""
    pool = BlockingConnectionPool.from_url(
        valkey_url,
        max_connections=20,
        timeout=timeout.total_seconds(),
        socket_timeout=2 * timeout.total_seconds(),
        socket_connect_timeout=timeout.total_seconds(),
        retry=Retry(NoBackoff(), 0),
    )
    return Cache(Redis(connection_pool=pool), f"{prefix}:" if prefix else "", lease)
