"""The plan of a load: what the process that sends the requests gets on its standard input."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Journey:
    """The purpose of one customer: a basket to order, or, without items, an earlier order to cancel."""

    items: dict[str, int]
    """Quantities by SKU."""
    search: str = ""
    """A word of a product's name that the customer searches for first."""


@dataclass(frozen=True)
class Login:
    """An account of the pool, signed in."""

    email: str
    password: str
    token: str
    refresh_token: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The load, its customers and their baskets. Either `rate` or `users` is set."""

    url: str = ""
    """The gateway of the target; the system of `make run` has its own."""
    rate: float | None = None
    """Open loop: journeys that begin per second, whether or not earlier ones have ended."""
    users: int | None = None
    """Closed loop: customers, each of whom begins the next journey after the last one."""
    seconds: float
    think_seconds: float
    """Mean time between two steps of a customer."""
    timeout_seconds: float = 30
    """A request without an answer for this long counts as an error."""
    settle_seconds: float = 30
    """Maximum wait for the decisions of the last orders."""
    max_in_flight: int = 2_000
    """Open loop: journeys that begin while this many are open are left out, and reported."""
    ca_file: str | None = None
    """Certificates of the CAs that may sign the target's certificate. Default: those of the machine."""
    seed: int
    key_prefix: str = ""
    """Part of the Idempotency-Keys, so that two runs share none."""
    logins: list[Login] = field(default_factory=list)
    journeys: list[Journey] = field(default_factory=list)

    def dumps(self) -> str:
        """Return the plan as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> "Plan":
        """Read the plan from JSON."""
        values: dict[str, Any] = json.loads(text)
        logins = [Login(**each) for each in values.pop("logins")]
        journeys = [Journey(**each) for each in values.pop("journeys")]
        return cls(**values, logins=logins, journeys=journeys)

    def described(self) -> str:
        """Return the load in words."""
        if self.rate is not None:
            return f"open loop, {self.rate:g} customers per second for {self.seconds:g} s"
        return f"closed loop, {self.users} customers at once for {self.seconds:g} s"
