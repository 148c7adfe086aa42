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


Builder = Callable[[System, Account, str], Awaitable[Call]]
"""Makes an object of this owner and of this kind, and returns the request for it."""

BUILDERS: dict[str, Builder] = {}
"""The builder of each route, such as `GET /v1/orders`."""
OF_NEW_ACCOUNTS: set[str] = set()
"""Routes that a new account of the role calls, because they change how the caller signs in, or end the account."""


def call_of(*routes: str, by_new_account: bool = False) -> Callable[[Builder], Builder]:
    """Register a builder for routes."""
    if by_new_account:
        OF_NEW_ACCOUNTS.update(routes)

    def register(builder: Builder) -> Builder:
        for route in routes:
            assert route not in BUILDERS, f"{route} has two builders"
            BUILDERS[route] = builder
        return builder

    return register


def plain(*routes: str, json: Any = None, by_new_account: bool = False) -> None:
    """Register routes without objects: the request needs only the path of the route, and this body."""
    for route in routes:

        async def build(_system: System, _owner: Account, _objects: str, *, path: str = route.split(" ")[1]) -> Call:
            return Call(path, json)

        call_of(route, by_new_account=by_new_account)(build)
