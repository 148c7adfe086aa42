"""Requests of the walk: each route has a function that makes its object, and returns the request for it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.access.system import Account, System


@dataclass(frozen=True)
class Call:
    """A valid request: everyone who may send it succeeds. `path` replaces the route's path with its parameters."""

    path: str
    json: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None
    ends_caller: bool = False
    """Whether it ends the caller's account: a new one of the same role sends it."""


Builder = Callable[[System, Account, str], Awaitable[Call]]
"""Makes an object of this owner and of this kind, and returns the request for it."""

BUILDERS: dict[str, Builder] = {}
"""The builder of each route, such as `GET /v1/orders`."""


def call_of(*routes: str) -> Callable[[Builder], Builder]:
    """Register a builder for routes."""

    def register(builder: Builder) -> Builder:
        for route in routes:
            assert route not in BUILDERS, f"{route} has two builders"
            BUILDERS[route] = builder
        return builder

    return register


def plain(*routes: str, json: Any = None) -> None:
    """Register routes without objects: the request needs only the path of the route, and this body."""
    for route in routes:

        async def build(_system: System, _owner: Account, _objects: str, *, path: str = route.split(" ")[1]) -> Call:
            return Call(path, json)

        call_of(route)(build)
