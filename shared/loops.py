"""Loops that a service adds to its processes, and the work that a transaction gives them once it has committed."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from shared.commit_buffer import CommitBuffer
from shared.database import Sessions
from shared.heartbeat import Heartbeat

_LOOPS = "loops"
_NOTIFY = "notify_loop"
_COMMITTED = "work_after_commit"


class Loop(Protocol):
    """A loop of one service, which runs in its processes with the role jobs."""

    @property
    def name(self) -> str:
        """Name of the loop in logs, and the channel of the NOTIFY that wakes it from another process."""

    @property
    def heartbeat(self) -> Heartbeat:
        """The heartbeat that the loop sets itself, every few seconds at least, after successes and failures."""

    async def run(self) -> None:
        """Work until `stop`, then finish the current work."""

    def stop(self) -> None:
        """Begin no more work."""

    def wake(self) -> None:
        """Look for work now instead of at the next poll."""


class OpenLoop(Protocol):
    """Builds a loop on a service's database. Nothing connects before the loop runs."""

    def __call__(self, *, dsn: str, sessions: Sessions) -> Loop: ...


class _Callback(NamedTuple):
    committed: Callable[[], None]
    rolled_back: Callable[[], None]


def local_loop(session: AsyncSession, name: str) -> Loop | None:
    """Return the loop of this name, if it runs in this process."""
    loops: dict[str, Loop] = session.info.get(_LOOPS, {})
    return loops.get(name)


def wake_after_commit(session: AsyncSession, loop: str) -> None:
    """Wake the loop of this name, in this process or another, once the session's transaction has committed."""
    _work.add(session, loop)


def call_after_commit(session: AsyncSession, function: Callable[[], None], *, on_rollback: Callable[[], None]) -> None:
    """Call a function once the session's transaction has committed, or another one once it was rolled back."""
    _work.add(session, _Callback(function, on_rollback))


def connect_loops(sessions: Sessions, loops: Sequence[Loop], *, notify: Callable[[str], None]) -> None:
    """Let transactions of these sessions wake the loops of this process, and with `notify` those of others."""
    by_name = {loop.name: loop for loop in loops}
    if not all(name.isidentifier() for name in by_name):
        raise ValueError("a loop's name is also the name of a channel, without quotes")
    sessions.configure(info={**sessions.kw["info"], _LOOPS: by_name, _NOTIFY: notify})


def _remember(session: Session, work: list[str | _Callback]) -> None:
    session.info[_COMMITTED] = work


def _wake(session: Session, name: str) -> None:
    notify: Callable[[str], None] | None = session.info.get(_NOTIFY)
    if (loop := session.info.get(_LOOPS, {}).get(name)) is not None:
        loop.wake()
    elif notify is not None:
        notify(name)


def _run_committed(session: Session) -> None:
    work: list[str | _Callback] = session.info.pop(_COMMITTED)
    for name in dict.fromkeys(one for one in work if isinstance(one, str)):
        _wake(session, name)
    for callback in work:
        if isinstance(callback, _Callback):
            callback.committed()


def _run_rolled_back(work: list[str | _Callback]) -> None:
    for callback in work:
        if isinstance(callback, _Callback):
            callback.rolled_back()


_work = CommitBuffer(_remember, committed=_run_committed, dropped=_run_rolled_back)
