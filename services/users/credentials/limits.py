"""Limits of requests that could be used to guess, to harvest addresses, or to flood somebody with mail."""

import time
import unicodedata
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from fastapi import Request

from services.users.credentials.networks import ClientNetworks
from services.users.settings import Settings
from shared.http.rate_limit import Counted, Limit, RateLimited, RateLimiter, add_rate_limit_headers

MAX_LOCAL_KEYS = 50_000
"""Keys that are counted in this process while Valkey is away. Those that were used least recently go first."""


class LimitedUse(StrEnum):
    """The uses that have limits. The values are the names in the RateLimit headers."""

    SIGN_UP = "sign-up"
    SIGN_IN = "sign-in"
    REFRESH = "refresh"
    MAILED_LINK = "mailed-link"


@dataclass(frozen=True)
class UseLimits:
    """The limits of one use."""

    per_host: Limit
    per_site: Limit
    per_target: Limit | None = None
    """None where `GrowingDelays` do it: whoever reaches such a limit shuts out the target's owner too."""


def limits_of(settings: Settings) -> dict[LimitedUse, UseLimits]:
    """Return the limits that the settings name."""
    texts: dict[LimitedUse, tuple[str, str, str | None]] = {
        LimitedUse.SIGN_UP: (
            settings.sign_up_limit_per_host,
            settings.sign_up_limit_per_site,
            settings.sign_up_limit_per_email,
        ),
        LimitedUse.SIGN_IN: (settings.sign_in_limit_per_host, settings.sign_in_limit_per_site, None),
        LimitedUse.REFRESH: (
            settings.refresh_limit_per_host,
            settings.refresh_limit_per_site,
            settings.refresh_limit_per_token,
        ),
        LimitedUse.MAILED_LINK: (
            settings.mailed_link_limit_per_host,
            settings.mailed_link_limit_per_site,
            settings.mailed_link_limit_per_email,
        ),
    }
    return {
        use: UseLimits(Limit.parse(host), Limit.parse(site), Limit.parse(target) if target else None)
        for use, (host, site, target) in texts.items()
    }


def email_target(email: str) -> str:
    """Return a key that is the same for all spellings of an address that the database compares as equal.

    PostgreSQL's lower() maps more characters to one letter than Python's casefold() does, such as İ to i. This maps at
    least as many: addresses that share a key by accident share a limit, and nothing else.
    """
    decomposed = unicodedata.normalize("NFKD", email)
    return "".join(each for each in decomposed if not unicodedata.combining(each)).casefold()


class CredentialLimits:
    """Limits requests by host, by site, and by their target, in one round trip.

    While Valkey is away each process counts by itself, and allows half as many.
    """

    def __init__(self, limiter: RateLimiter, limits: Mapping[LimitedUse, UseLimits]) -> None:
        self._limiter = limiter
        self._limits = limits
        self._local = _LocalWindows()

    async def check(
        self, use: LimitedUse, *, request: Request, networks: ClientNetworks, target: str | None = None
    ) -> None:
        """Count the request, and add the RateLimit headers of its host and site to the response. Raises: RateLimited.

        `target`: the secret's hash, or `email_target(...)`. Its headers are left out, because they would tell how often
        somebody else has asked for it.
        """
        public = self._of_networks(use, networks)
        counted = [*public, *self._of_target(use, target)]
        hits = await self._limiter.hit_all(counted) if counted else []
        if hits is None:
            self._local.check(counted)
            return
        for each, hit in zip(public, hits[: len(public)], strict=True):
            add_rate_limit_headers(request, each.name, each.limit, hit)
        waits = [hit.reset_seconds for hit in hits if not hit.allowed]
        if waits:
            raise RateLimited(retry_after=timedelta(seconds=max(waits)))

    def _of_networks(self, use: LimitedUse, networks: ClientNetworks) -> list[Counted]:
        if networks.is_shared:
            return []
        limits = self._limits[use]
        return [
            Counted(limits.per_host, f"{use}-host", networks.host),
            Counted(limits.per_site, f"{use}-site", networks.site),
        ]

    def _of_target(self, use: LimitedUse, target: str | None) -> list[Counted]:
        limit = self._limits[use].per_target
        return [] if limit is None or target is None else [Counted(limit, f"{use}-target", target)]


class _LocalWindows:
    """The number of requests of each key in its present window, in the order of their last requests."""

    def __init__(self) -> None:
        self._windows: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def check(self, counted: Sequence[Counted]) -> None:
        """Count a request on every key, or on none. Raises: RateLimited."""
        now = time.monotonic()
        states = {(each.name, each.key): self._state(each, now) for each in counted}
        waits = [
            began + each.limit.window_seconds - now
            for each in counted
            for began, requests in [states[each.name, each.key]]
            if requests >= max(1, each.limit.requests // 2)
        ]
        if waits:
            raise RateLimited(retry_after=timedelta(seconds=max(waits)))
        for key, (began, requests) in states.items():
            self._windows[key] = (began, requests + 1)
            self._windows.move_to_end(key)
        while len(self._windows) > MAX_LOCAL_KEYS:
            self._windows.popitem(last=False)

    def _state(self, each: Counted, now: float) -> tuple[float, int]:
        began, requests = self._windows.get((each.name, each.key), (now, 0))
        return (began, requests) if now < began + each.limit.window_seconds else (now, 0)
