"""Actions of failpoints, which tests arm in their own processes.

A specification looks like `relay.acked=kill@3;consumer.db_committed=kill%0.01;delivery.sent=sleep:2`. The action runs
at the n-th pass (`@n`), with a probability at each pass (`%p`), or at every pass.
"""

import os
import random
import re
import signal
import time
from dataclasses import dataclass, field
from typing import Literal

from shared.messaging import failpoints
from shared.messaging.failpoints import NAMES

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


def arm(specification: str) -> None:
    """Arm the failpoints of a specification in this process."""
    failpoints.arm({name: point.passed for name, point in parse(specification).items()})
