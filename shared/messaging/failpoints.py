"""Failpoints: named places in the code at which a test can kill, stop, delay or fail the process.

Set them like `ORDERLY_FAILPOINTS="relay.acked=kill@3;consumer.db_committed=kill%0.01;delivery.sent=sleep:2"`. The
action runs at the n-th pass (`@n`), with a probability at each pass (`%p`), or at every pass. Without the variable, a
failpoint costs one look-up.
"""

import os
import random
import re
import signal
import time
from dataclasses import dataclass, field
from typing import Literal

VARIABLE = "ORDERLY_FAILPOINTS"
NAMES = (
    "api.before_commit",
    "api.committed",
    "relay.fetched",
    "relay.published",
    "relay.acked",
    "relay.moved",
    "consumer.received",
    "consumer.handled",
    "consumer.db_committed",
    "consumer.acked",
    "delivery.begun",
    "delivery.sent",
    "delivery.recorded",
)
"""All failpoints: they surround each step that a guarantee depends on."""

Action = Literal["kill", "stop", "raise", "sleep"]
"""`stop` suspends the process until SIGCONT."""

_SPECIFICATION = re.compile(
    r"(?P<name>[a-z_.]+)=(?P<action>kill|stop|raise|sleep)(:(?P<seconds>[0-9.]+))?"
    r"(@(?P<nth>\d+)|%(?P<chance>[0-9.]+))?"
)


class FailpointRaised(Exception):
    """A failpoint's action is `raise`."""


@dataclass
class Failpoint:
    """The action at one place, and the passes at which it runs."""

    action: Action
    seconds: float = 0.0
    nth: int | None = None
    chance: float | None = None
    passes: int = field(default=0, init=False)

    def passed(self, name: str) -> None:
        """Count a pass, and run the action if it is due. `sleep` blocks the event loop, as a stalled process does."""
        self.passes += 1
        if self.nth is not None and self.passes != self.nth:
            return
        if self.chance is not None and random.random() >= self.chance:  # noqa: S311 - no secret, and seeded by the chaos tests
            return
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.action == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if self.action == "sleep":
            time.sleep(self.seconds)
        if self.action == "raise":
            raise FailpointRaised(name)


def parse(specification: str) -> dict[str, Failpoint]:
    """Parse the variable's value. Raises: ValueError for an unknown place or action."""
    points: dict[str, Failpoint] = {}
    for part in filter(None, (part.strip() for part in specification.split(";"))):
        match = _SPECIFICATION.fullmatch(part)
        if match is None or match["name"] not in NAMES:
            raise ValueError(f"{part!r} is not a failpoint")
        action: Action = match["action"]  # type: ignore[assignment]  # the pattern allows only these
        points[match["name"]] = Failpoint(
            action=action,
            seconds=float(match["seconds"] or 0),
            nth=int(match["nth"]) if match["nth"] else None,
            chance=float(match["chance"]) if match["chance"] else None,
        )
    return points


_points = parse(os.environ.get(VARIABLE, ""))


def failpoint(name: str) -> None:
    """Mark a place. Does nothing unless the environment sets an action for it."""
    if _points and (point := _points.get(name)) is not None:
        point.passed(name)
