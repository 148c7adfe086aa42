"""Named places at which a process can be made to die, stall or fail; one attribute look-up when none is set.

`ORDERLY_FAILPOINTS="relay.acked=kill@3;consumer.db_committed=kill%0.01;job.sent=sleep:2"`: an action, and when it
happens: at the n-th pass (`@n`), with a chance at each pass (`%p`), or at every pass.
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
    "job.taken",
    "job.sent",
    "job.marked",
)
"""Every place there is: before and after each step on which a guarantee rests."""

Action = Literal["kill", "stop", "raise", "sleep"]
"""A stopped process goes on at SIGCONT."""

_SPECIFICATION = re.compile(
    r"(?P<name>[a-z_.]+)=(?P<action>kill|stop|raise|sleep)(:(?P<seconds>[0-9.]+))?"
    r"(@(?P<nth>\d+)|%(?P<chance>[0-9.]+))?"
)


class FailpointRaised(Exception):
    """A failpoint was told to raise."""


@dataclass
class Failpoint:
    """What happens at one place."""

    action: Action
    seconds: float = 0.0
    nth: int | None = None
    chance: float | None = None
    passes: int = field(default=0, init=False)

    def passed(self, name: str) -> None:
        """Act if it is time to. Blocks the whole process on purpose: a stalled process stalls as one."""
        self.passes += 1
        if self.nth is not None and self.passes != self.nth:
            return
        if self.chance is not None and random.random() >= self.chance:  # noqa: S311 - seeded by the harness
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
    """Read the variable's value. Raises: ValueError for a place or an action that does not exist."""
    points: dict[str, Failpoint] = {}
    for part in filter(None, (part.strip() for part in specification.split(";"))):
        match = _SPECIFICATION.fullmatch(part)
        if match is None or match["name"] not in NAMES:
            raise ValueError(f"{part!r} is no failpoint")
        action: Action = match["action"]  # type: ignore[assignment]  # the pattern has just these
        points[match["name"]] = Failpoint(
            action=action,
            seconds=float(match["seconds"] or 0),
            nth=int(match["nth"]) if match["nth"] else None,
            chance=float(match["chance"]) if match["chance"] else None,
        )
    return points


_points = parse(os.environ.get(VARIABLE, ""))


def failpoint(name: str) -> None:
    """Mark a place; does nothing unless the environment names it."""
    if _points and (point := _points.get(name)) is not None:
        point.passed(name)
