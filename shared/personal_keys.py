"""The keys of users' personal data, as services that consume events read them from the users service."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from itertools import islice
from typing import NamedTuple
from uuid import UUID

import httpx2
import structlog

from shared.transient_errors import TransientError

logger = structlog.get_logger(__name__)

MAX_AGE = timedelta(seconds=60)
"""Time for which a key is cached. A consumer can read an erased user's events for so long, if it does not learn of the
erasure earlier and invalidates the key."""
MAX_CACHED_KEYS = 10_000
"""Keys in memory. Above it, those that were read first are dropped."""
MAX_KEYS_PER_REQUEST = 1_000
"""Keys that the users service returns at once."""

KeySource = Callable[[Collection[UUID]], Awaitable[Mapping[UUID, bytes]]]
"""Returns the keys of at most MAX_KEYS_PER_REQUEST users. Raises: httpx2.HTTPError, ValueError."""


class PersonalKeysUnavailable(TransientError):
    """The users service does not answer."""


class _Cached(NamedTuple):
    key: bytes
    fresh_until: float


class PersonalKeys:
    """Reads keys, and caches them in memory. Of concurrent calls for one user, only one asks the users service.

    Never call it in a transaction: it would hold the connection while it waits for the users service.
    """

    def __init__(self, source: KeySource, *, max_age: timedelta = MAX_AGE, max_cached: int = MAX_CACHED_KEYS) -> None:
        self._source = source
        self._max_age_seconds = max_age.total_seconds()
        self._max_cached = max_cached
        self._cached: dict[UUID, _Cached] = {}
        self._reading: dict[UUID, asyncio.Task[Mapping[UUID, bytes] | None]] = {}

    async def of(self, user_ids: Collection[UUID]) -> dict[UUID, bytes]:
        """Return the keys of users. Those that are unknown or erased have none. Raises: PersonalKeysUnavailable."""
        wanted = set(user_ids)
        found = self._fresh(wanted)
        missing = wanted - found.keys()
        self._begin_reading(missing - self._reading.keys())
        tasks = {self._reading[user_id] for user_id in missing}
        if tasks:
            # Unlike `gather`, this does not cancel what others wait for if this caller is cancelled.
            await asyncio.wait(tasks)
        for read in [task.result() for task in tasks]:
            if read is None:
                raise PersonalKeysUnavailable
            found |= {user_id: key for user_id, key in read.items() if user_id in wanted}
        return found

    def invalidate(self, user_id: UUID) -> None:
        """Drop the key of a user who was erased, also if it is being read just now."""
        self._cached.pop(user_id, None)
        self._reading.pop(user_id, None)

    def _fresh(self, user_ids: Collection[UUID]) -> dict[UUID, bytes]:
        now = time.monotonic()
        cached = ((user_id, self._cached.get(user_id)) for user_id in user_ids)
        return {user_id: one.key for user_id, one in cached if one is not None and one.fresh_until > now}

    def _begin_reading(self, user_ids: Collection[UUID]) -> None:
        remaining = iter(user_ids)
        while batch := list(islice(remaining, MAX_KEYS_PER_REQUEST)):
            task = asyncio.create_task(self._read(batch))
            self._reading |= dict.fromkeys(batch, task)

    async def _read(self, user_ids: Collection[UUID]) -> Mapping[UUID, bytes] | None:
        """Read and cache keys; return None if the users service does not answer."""
        task = asyncio.current_task()
        began_at = time.monotonic()
        try:
            keys = await self._source(user_ids)
        except (httpx2.HTTPError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            logger.warning("personal_keys_unavailable", error=type(error).__name__)
            keys = None
        for user_id in user_ids:
            if self._reading.get(user_id) is task:
                del self._reading[user_id]
                if keys is not None and user_id in keys:
                    self._cache(user_id, _Cached(keys[user_id], began_at + self._max_age_seconds))
        return keys

    def _cache(self, user_id: UUID, key: _Cached) -> None:
        self._cached.pop(user_id, None)
        if len(self._cached) >= self._max_cached:
            del self._cached[next(iter(self._cached))]
        self._cached[user_id] = key
