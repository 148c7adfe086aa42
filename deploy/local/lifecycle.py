"""The life of a supervised program: its state, its last events and how it ended."""

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from deploy.local.process import Program

MAX_EVENTS = 30
"""Events that are kept of each program."""


class State(StrEnum):
    """The state of a process."""

    STARTING = "starting"
    """The process runs, and was never ready."""
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    """Somebody has stopped it, or it never became ready. `start` starts it."""
    RESTARTING = "restarting"
    """The process has ended by itself, and the supervisor starts it again."""
    SUSPENDED = "suspended"
    """The process is stopped by SIGSTOP, and continues at `suspended_until`."""


@dataclass(frozen=True)
class Happening:
    """Something that happened to a process."""

    at: datetime
    event: str
    """started, ready, failed, exited, killed, stopping, stopped, suspended or resumed."""
    text: str


@dataclass(kw_only=True)
class Lifecycle:
    """The program that a name stands for, kept while no process runs it."""

    program: Program
    """The program that `start` and `restart` start. A fault may run a variant of it meanwhile."""
    state: State = State.STARTING
    restarts: int = 0
    """Restarts by the supervisor."""
    started_at: datetime | None = None
    suspended_until: datetime | None = None
    last_exit: str | None = None
    events: deque[Happening] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))

    def note(self, event: str, text: str, *, state: State | None = None) -> None:
        """Add an event, and set the state that it leads to."""
        self.events.append(Happening(datetime.now(UTC), event, text))
        if state is not None:
            self.state = state
        if self.state is not State.SUSPENDED:
            self.suspended_until = None

    def started(self, pid: int) -> None:
        """Note that a process runs the program."""
        self.started_at = datetime.now(UTC)
        self.note("started", f"started as pid {pid}")

    def ended(self, exit_text: str, *, was_killed: bool, state: State) -> None:
        """Note how the process ended."""
        self.last_exit, self.started_at = exit_text, None
        self.note("killed" if was_killed else "exited", exit_text, state=state)
