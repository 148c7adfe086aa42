"""The state file: where the next run begins, which keys it checks again, what was found, and what was accepted."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.audit.findings import Key, Violation

MAX_FOUND = 10_000
"""Upper bound of the findings that are kept. The others are found again once these are settled."""
LOCK_POLL_SECONDS = 0.1
"""Delay between two looks at a state file that another process uses."""


class StateUnusable(Exception):
    """The state file cannot be used."""


class StateLocked(StateUnusable):
    """Another run uses the state file at this moment."""


class Acceptance(BaseModel):
    """An operator's decision that a finding stays as it is. If it changes, it is reported again."""

    model_config = ConfigDict(frozen=True)

    text: str
    actor: str
    note: str
    at: datetime


class State(BaseModel):
    """The state between two runs, as JSON. A later version that changes it gets another number."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    watermarks: dict[str, str] = Field(default_factory=dict)
    """The place of the last sent event that was read, by service."""
    generations: dict[str, int] = Field(default_factory=dict)
    """The generation of each service's database at its watermark."""
    parts: dict[str, str] = Field(default_factory=dict)
    """The row after which the next run's part of a table begins, by source."""
    open: list[Key] = Field(default_factory=list)
    """Keys whose differences were too young to count."""
    found: list[Violation] = Field(default_factory=list)
    first_found_at: dict[str, datetime] = Field(default_factory=dict)
    """The time at which each finding was found first, by its id."""
    accepted: dict[str, Acceptance] = Field(default_factory=dict)
    """Findings that are not reported any more, by their id."""

    def replace_found(self, found: list[Violation], *, now: datetime) -> None:
        """Set what was found, each violation once, and remember since when. The first are checked first again."""
        by_id = {violation.id: violation for violation in found}
        self.found = list(by_id.values())[:MAX_FOUND]
        self.first_found_at = {each.id: self.first_found_at.get(each.id, now) for each in self.found}

    @property
    def reported(self) -> list[Violation]:
        """The findings that nobody has accepted."""
        return [violation for violation in self.found if not self.is_accepted(violation)]

    def is_accepted(self, violation: Violation) -> bool:
        """Return whether somebody has accepted the finding as it is."""
        acceptance = self.accepted.get(violation.id)
        return acceptance is not None and acceptance.text == violation.text


@contextmanager
def locked_state(path: Path, *, wait_seconds: float = 0) -> Iterator[State]:
    """Read the state, and write it back at the end unless there was an error. One process at a time.

    `wait_seconds`: time for which this thread waits for another process. Raises: StateUnusable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_seconds
    with path.with_name(f"{path.name}.lock").open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise StateLocked(f"{path}: another audit uses it") from None
            time.sleep(LOCK_POLL_SECONDS)
        state = read_state(path)
        yield state
        write_state(path, state)


def read_state(path: Path) -> State:
    """Read the state; a missing file is a new state. Raises: StateUnusable."""
    try:
        return State.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return State()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise StateUnusable(
            f"{path}: is no state file of this version ({place}: {first['msg']}). Move it away to begin anew; that also"
            " removes the accepted findings"
        ) from error


def write_state(path: Path, state: State) -> None:
    """Replace the file atomically: a crash leaves the old one or the new one."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    with unfinished.open("w") as file:
        file.write(state.model_dump_json(indent=1))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
