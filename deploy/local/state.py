"""What is told about a running system to other programs, and the lock that there is one only."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deploy.local.process import LocalError

STOP_TIMEOUT_SECONDS = 90


class AlreadyRunning(LocalError):
    """Another run uses this folder."""


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: the kernel gives it back however this process ends. Raises: AlreadyRunning."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise AlreadyRunning(
                f"The system runs already (pid {pid}): see `make status`, or `make stop` it."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def running_pid(folder: Path) -> int | None:
    """The pid of the run that holds the folder's lock, if there is one."""
    with suppress(FileNotFoundError), (folder / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(lock.read() or 0) or None
    return None


def stop_running(folder: Path) -> bool:
    """Ask the run to stop and wait for it. Returns False when there is none. Raises: TimeoutError."""
    pid = running_pid(folder)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while running_pid(folder) == pid:
        if time.monotonic() > deadline:
            raise TimeoutError(f"pid {pid} still runs")
        time.sleep(0.1)
    return True


def state_file(folder: Path) -> Path:
    """Is there while a system runs; it holds passwords, so only its owner can read it."""
    return folder / "system.json"


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Replace the file in one step: a reader sees the old state or the new one."""
    unfinished = folder / "system.json.unfinished"
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(state, indent=2))
    unfinished.replace(state_file(folder))


def read_state(folder: Path) -> dict[str, Any] | None:
    """Of the running system; None when none runs, whatever a killed one left behind."""
    if running_pid(folder) is None:
        return None
    with suppress(FileNotFoundError):
        state: dict[str, Any] = json.loads(state_file(folder).read_text())
        return state
    return None
