"""Loops that a service adds to its processes, and wake-ups that a transaction sends them once it has committed."""

from collections.abc import Callable
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from shared.commit_buffer import CommitBuffer
from shared.database import Sessions

_WAKE = "wake_loop"
_COMMITTED = "loops_to_wake"


class Loop(Protocol):
    """A loop of one service, which runs in its processes with the role jobs."""

    @property
    def name(self) -> str:
        """Name of the loop in logs, and the channel of the NOTIFY that wakes it from another process."""

    @property
    def idle_seconds(self) -> float:
        """Time since the loop's last heartbeat."""

    async def run(self) -> None:
        """Work until `stop`, then finish the current work."""

    def stop(self) -> None:
        """Begin no more work."""

    def wake(self) -> None:
        """Look for work now instead of at the next poll."""


class OpenLoop(Protocol):
    """Builds a loop on a service's database. Nothing connects before the loop runs."""

    def __call__(self, *, dsn: str, sessions: Sessions) -> Loop: ...


def wake_after_commit(session: AsyncSession, loop: str) -> None:
    """Wake the loop of this name, in this process or another, once the session's transaction has committed."""
    _loops.add(session, loop)


def wake_with(sessions: Sessions, wake: Callable[[str], None]) -> None:
    """Call `wake` with the names of the loops to wake, after each commit of these sessions that asked for it."""
    sessions.configure(info={**sessions.kw["info"], _WAKE: wake})


def _note(session: Session, loops: list[str]) -> None:
    session.info[_COMMITTED] = set(loops)


def _wake(session: Session) -> None:
    wake: Callable[[str], None] | None = session.info.get(_WAKE)
    for loop in session.info.pop(_COMMITTED):
        if wake is not None:
            wake(loop)


_loops = CommitBuffer(_note, committed=_wake)
