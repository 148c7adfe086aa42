"""The state file, which tells other programs about a running system, and the lock that allows one system per folder.

Only the standard library: `make doctor` imports it before there is a .venv.
"""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deploy.local.process import LocalError

CHECKOUT = Path(__file__).parents[2]
DEFAULT_FOLDER = CHECKOUT / ".local"
STOP_TIMEOUT_SECONDS = 90


class AlreadyRunning(LocalError):
    """Another system uses this folder."""


class NotStopped(LocalError):
    """A system that was asked to stop still runs."""


@contextmanager
def single_instance(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. The kernel releases it however this process ends. Raises: AlreadyRunning."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise AlreadyRunning(
                f"The system is already running (pid {pid}). `make status` shows it; `make stop` stops it."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def running_pid(folder: Path) -> int | None:
    """Return the pid of the process that holds the folder's lock; None if none does."""
    with suppress(FileNotFoundError), (folder / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(lock.read() or 0) or None
    return None


def stop_running(folder: Path) -> bool:
    """Stop the running system and wait until it has ended. Return False if none runs. Raises: NotStopped."""
    pid = running_pid(folder)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while running_pid(folder) == pid:
        if time.monotonic() > deadline:
            raise NotStopped(f"The system (pid {pid}) did not stop within {STOP_TIMEOUT_SECONDS} s.")
        time.sleep(0.1)
    return True


def state_file(folder: Path) -> Path:
    """Return the path of the state file, which exists while a system runs."""
    return folder / "system.json"


def write_state(folder: Path, state: dict[str, Any]) -> None:
    """Replace the state file atomically. It holds passwords, so only its owner can read it."""
    unfinished = folder / "system.json.unfinished"
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(state, indent=2))
    unfinished.replace(state_file(folder))


def read_state(folder: Path) -> dict[str, Any] | None:
    """Return the state of the running system; None if none runs, even if a killed one left its file."""
    if running_pid(folder) is None:
        return None
    with suppress(FileNotFoundError):
        state: dict[str, Any] = json.loads(state_file(folder).read_text())
        return state
    return None


def admin_password_of(state: Mapping[str, Any]) -> str:
    """Return the admin's password. `state`: the content of the state file."""
    return Path(state["admin_password_file"]).read_text().splitlines()[0]


def audit_environment(folder: Path, state: dict[str, Any]) -> dict[str, str]:
    """Return the settings with which the audit reads the running system. `folder`: of the system."""
    urls = {f"AUDIT_{service.upper()}_DATABASE_URL": url for service, url in state["audit_databases"].items()}
    return {
        **urls,
        "AUDIT_KAFKA_BOOTSTRAP_SERVERS": state["kafka_bootstrap_servers"],
        "AUDIT_STATE_FILE": str((folder / "audit.json").absolute()),
    }
