"""Growing delays between attempts at a secret: counted in Valkey, and in this process while Valkey is away."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from math import ceil

from redis.exceptions import RedisError

from shared.cache import Cache, Outage
from shared.errors import TooManyRequests

INITIAL_DELAY = timedelta(seconds=1)
"""The delay after the last free failure; each further failure doubles it."""
MAX_LOCAL_KEYS = 50_000
"""Keys that are counted in this process while Valkey is away. Those that were used least recently go first."""

# An attempt is counted before the secret is checked, and uncounted if it was right. Counted afterwards, many
# simultaneous attempts would all pass. Every key is counted or none: a delayed attempt must not delay other keys.
# The clock is Valkey's, so that all processes count alike; if it is set back, no delay becomes longer than it was.
_BEGIN = """
local clock = redis.call('time')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local wait = 0
for i, key in ipairs(KEYS) do
    local free, first, longest = tonumber(ARGV[4 * i - 3]), tonumber(ARGV[4 * i - 2]), tonumber(ARGV[4 * i - 1])
    local stored = redis.call('hmget', key, 'failures', 'last')
    local failures, last = tonumber(stored[1]) or 0, tonumber(stored[2]) or 0
    if failures >= free then
        local delay = math.min(longest, first * 2 ^ (failures - free))
        wait = math.max(wait, math.min(delay, last + delay - now))
    end
end
if wait > 0 then return math.ceil(wait) end
for i, key in ipairs(KEYS) do
    redis.call('hincrby', key, 'failures', 1)
    redis.call('hset', key, 'last', now)
    redis.call('pexpire', key, ARGV[4 * i])
end
return 0
"""
_END = """
for i, key in ipairs(KEYS) do
    if ARGV[i] == '1' then
        redis.call('unlink', key)
    elseif (tonumber(redis.call('hget', key, 'failures')) or 0) > 0 then
        redis.call('hincrby', key, 'failures', -1)
    end
end
return 0
"""


class TooManyAttempts(TooManyRequests):
    """There were too many failed attempts: wait before the next one."""

    code = "too_many_attempts"


@dataclass(frozen=True)
class GrowingDelay:
    """A rule: after `free_failures` the next attempt has to wait for 1 s, then 2 s, 4 s, at most `max_delay`."""

    name: str
    free_failures: int
    max_delay: timedelta
    remembered: timedelta = timedelta(hours=1)
    """Time after the last attempt for which failures count. Longer than `max_delay`, or waiting would undo it."""

    def of(self, *key: object, resets: bool = False) -> "CountedKey":
        """Return what this rule counts. With `resets`, a success clears the earlier failures."""
        # Hashed, because e-mail and IP addresses are personal data.
        digest = hashlib.sha256("\0".join(map(str, key)).encode()).hexdigest()[:32]
        return CountedKey(self, f"{self.name}:{digest}", resets=resets)


@dataclass(frozen=True)
class CountedKey:
    """One key that attempts are counted on, by its rule."""

    rule: GrowingDelay
    key: str
    resets: bool


class GrowingDelays:
    """Counts attempts at secrets such as passwords and codes, by any number of rules in one round trip.

    While Valkey is away, each process counts by itself, with half of the free failures.
    """

    def __init__(self, cache: Cache) -> None:
        self._prefix = f"{cache.prefix}delay:"
        self._begin = cache.client.register_script(_BEGIN)
        self._end = cache.client.register_script(_END)
        self._local = _LocalCounts()
        self._outage = Outage("attempts_counted_locally")

    @asynccontextmanager
    async def attempt(self, counted: Sequence[CountedKey], *, failure: type[Exception]) -> AsyncIterator[None]:
        """Count one attempt on all keys. It stays counted only if it ends in a `failure`. Raises: TooManyAttempts."""
        is_local = await self._begin_or_delay(counted)
        try:
            yield
        except failure:
            raise
        except BaseException:  # an error of ours, or a cancelled request
            await self._uncount(counted, has_succeeded=False, is_local=is_local)
            raise
        await self._uncount(counted, has_succeeded=True, is_local=is_local)

    async def _begin_or_delay(self, counted: Sequence[CountedKey]) -> bool:
        """Count the attempt, and return whether it was counted in this process. Raises: TooManyAttempts."""
        wait_milliseconds = None
        if not self._outage.ongoing:
            try:
                wait_milliseconds = int(await self._begin(keys=self._keys(counted), args=_arguments(counted)))
            except (RedisError, OSError) as error:
                self._outage.report(error)
        is_local = wait_milliseconds is None
        if wait_milliseconds is None:
            wait_milliseconds = self._local.begin(counted)
        if wait_milliseconds:
            raise TooManyAttempts(retry_after=timedelta(milliseconds=wait_milliseconds))
        return is_local

    async def _uncount(self, counted: Sequence[CountedKey], *, has_succeeded: bool, is_local: bool) -> None:
        if is_local:
            self._local.uncount(counted, has_succeeded=has_succeeded)
        elif not self._outage.ongoing:
            try:
                arguments = [int(has_succeeded and each.resets) for each in counted]
                await self._end(keys=self._keys(counted), args=arguments)
            except (RedisError, OSError) as error:
                self._outage.report(error)

    def _keys(self, counted: Sequence[CountedKey]) -> list[str]:
        return [f"{self._prefix}{each.key}" for each in counted]


class _LocalCounts:
    """The failures and the last attempt of each key, in the order of their last attempts."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def begin(self, counted: Sequence[CountedKey]) -> int:
        """Return the milliseconds to wait, or count the attempt and return 0."""
        now = time.monotonic()
        if (wait_seconds := max((self._wait(each, now) for each in counted), default=0.0)) > 0:
            return ceil(wait_seconds * 1000)
        for each in counted:
            failures, _ = self._state(each, now)
            self._counts[each.key] = (failures + 1, now)
            self._counts.move_to_end(each.key)
        while len(self._counts) > MAX_LOCAL_KEYS:
            self._counts.popitem(last=False)
        return 0

    def uncount(self, counted: Sequence[CountedKey], *, has_succeeded: bool) -> None:
        """Take an attempt back, and after a success delete the keys that it resets."""
        for each in counted:
            failures, last = self._counts.get(each.key, (0, 0.0))
            if (has_succeeded and each.resets) or failures <= 1:
                self._counts.pop(each.key, None)
            else:
                self._counts[each.key] = (failures - 1, last)

    def _wait(self, each: CountedKey, now: float) -> float:
        failures, last = self._state(each, now)
        excess = failures - max(1, each.rule.free_failures // 2)
        if excess < 0:
            return 0.0
        delay = min(each.rule.max_delay, INITIAL_DELAY * (1 << min(excess, 20)))
        return last + delay.total_seconds() - now

    def _state(self, each: CountedKey, now: float) -> tuple[int, float]:
        failures, last = self._counts.get(each.key, (0, 0.0))
        return (0, 0.0) if now - last > each.rule.remembered.total_seconds() else (failures, last)


def _arguments(counted: Sequence[CountedKey]) -> list[int]:
    return [
        argument
        for each in counted
        for argument in (
            each.rule.free_failures,
            _milliseconds(INITIAL_DELAY),
            _milliseconds(each.rule.max_delay),
            _milliseconds(each.rule.remembered),
        )
    ]


def _milliseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)
