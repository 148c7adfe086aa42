"""Limits for each caller: one for all requests together, and further ones for the routes that cost most.

A route declares its own limit as a dependency, such as `Depends(OPERATIONS)`; `PageParams` declares that of lists. All
limits of a request are counted in one round trip, and the OpenAPI document names them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from fastapi import FastAPI, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from shared.http.auth import dependants_of
from shared.http.rate_limit import (
    RATE_LIMITED_PREFIX,
    Counted,
    Limit,
    RateLimited,
    RateLimiter,
    add_rate_limit_headers,
    caller_or_address,
)
from shared.http.request_context import route_template

DEFAULT = "default"
"""The name of the limit of all requests."""
ALL_ROUTES = "*"
"""Stands for every limit of single routes in the setting `route_rate_limits`."""


@dataclass(frozen=True)
class RouteLimit:
    """A limit that routes share. As a dependency it only marks them; RequestLimits counts."""

    name: str
    requests: str
    """The limit unless the setting `route_rate_limits` has another one."""

    async def __call__(self) -> None:
        """Do nothing."""


LISTS = RouteLimit("lists", "300/minute")
"""Lists, with their filters: half of the default limit of all requests."""
OPERATIONS = RouteLimit("operations", "60/minute")
"""Operators' bulk work: each request may read or write thousands of rows."""


class UnknownLimits(ValueError):
    """The setting names limits that no route of this service has."""


class NamedLimit(NamedTuple):
    """A limit in force."""

    name: str
    limit: Limit


class RequestLimits:
    """The dependency of all routes that counts their requests. It knows the routes after `read_routes`."""

    def __init__(self, *, default: str, changed: Mapping[str, str]) -> None:
        """Take the limits of the settings. Raises: ValueError if one cannot be read."""
        self._default = NamedLimit(DEFAULT, Limit.parse(default))
        self._changed = {name: Limit.parse(limit) for name, limit in changed.items()}
        self._of_routes: dict[tuple[str, str], tuple[NamedLimit, ...]] = {}

    def read_routes(self, app: FastAPI) -> None:
        """Read the limits that the application's routes declare. Raises: UnknownLimits."""
        for route in iter_route_contexts(app.routes):
            dependant: Dependant | None = getattr(route, "dependant", None)
            declared = (
                dict.fromkeys(each.call for each in dependants_of(dependant) if isinstance(each.call, RouteLimit))
                if dependant
                else {}
            )
            for method in route.methods or ():
                self._of_routes[method, str(route.path)] = tuple(map(self._in_force, declared))
        known = {limit.name for limit in self.all()}
        if unknown := self._changed.keys() - known - {ALL_ROUTES}:
            raise UnknownLimits(f"ROUTE_RATE_LIMITS names {min(unknown)}; there are {', '.join(sorted(known))}")

    def all(self) -> set[NamedLimit]:
        """Return the limits of all routes, without the default."""
        return {limit for limits in self._of_routes.values() for limit in limits}

    def of_route(self, method: str, path: str) -> tuple[NamedLimit, ...]:
        """Return the limits of a route besides the default."""
        return self._of_routes.get((method, path), ())

    async def __call__(self, request: Request) -> None:
        """Count a request, and add the RateLimit fields to its response. Raises: RateLimited."""
        if not request.scope["path"].startswith(RATE_LIMITED_PREFIX):
            return
        key = await caller_or_address(request)
        limits = (self._default, *self.of_route(request.method, route_template(request.scope)))
        limiter: RateLimiter = request.app.state.rate_limiter
        hits = await limiter.hit_all([Counted(one.limit, one.name, key) for one in limits])
        if hits is None:
            return
        for one, hit in zip(limits, hits, strict=True):
            add_rate_limit_headers(request, one.name, one.limit, hit)
        if waits := [hit.reset_seconds for hit in hits if not hit.allowed]:
            raise RateLimited(retry_after=timedelta(seconds=max(waits)))

    def _in_force(self, declared: RouteLimit) -> NamedLimit:
        changed = self._changed.get(declared.name) or self._changed.get(ALL_ROUTES)
        return NamedLimit(declared.name, changed or Limit.parse(declared.requests))
