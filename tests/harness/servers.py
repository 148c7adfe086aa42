"""The real servers of a test run: one each, shared by all workers, started when the first test needs it."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, get_args

from tests.harness.images import pinned_images, without_digest

Kind = Literal["postgres", "valkey", "kafka"]
How = Literal["local", "containers"]
"""Local processes out of the wheels, or containers of the official images."""

KINDS: tuple[Kind, ...] = get_args(Kind)
RUN_FOLDER = "ORDERLY_TEST_RUN_FOLDER"
CONTROLLER_PID = "ORDERLY_TEST_CONTROLLER_PID"
HOW = "ORDERLY_TEST_RUN_SERVERS"
GIVEN_URL: dict[Kind, str] = {
    "postgres": "TEST_POSTGRES_URL",
    "valkey": "TEST_VALKEY_URL",
    "kafka": "TEST_KAFKA_BOOTSTRAP_SERVERS",
}
IMAGES: dict[Kind, str] = {kind: pinned_images()[kind] for kind in KINDS}
"""The images of the compose stack, which a developer may have already."""
START_TIMEOUT_SECONDS = 600
"""Long enough to download an image or Kafka's jars once."""
STOP_TIMEOUT_SECONDS = 30
MIN_FREE_MEMORY_BYTES = 6 * 1024**3
"""Free space that a folder in memory must have to be used: a run takes about a gigabyte, and needs memory besides."""


class ServerFailed(Exception):
    """A server of the test run could not be started."""


def begin_run(how: How) -> None:
    """Begin a run in the controlling pytest process. The workers inherit its environment variables."""
    folder = Path(tempfile.mkdtemp(prefix="orderly-tests-", dir=memory_folder()))
    os.environ[RUN_FOLDER] = str(folder)
    os.environ[CONTROLLER_PID] = str(os.getpid())
    os.environ[HOW] = how


def memory_folder() -> Path | None:
    """Return a folder in memory, if it is large enough for the servers' data.

    Each test has a database of a thousand files. To create them after others were deleted, ext4 takes longer than
    most tests.
    """
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a private folder in it
    is_usable = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= MIN_FREE_MEMORY_BYTES
    return memory if is_usable else None


def end_run() -> None:
    """Stop what was started, and wait until it is gone."""
    folder = run_folder()
    hosts = [int(path.read_text()) for path in folder.glob("*.pid")]
    for pid in hosts:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while any(_still_runs(pid) for pid in hosts) and time.monotonic() < deadline:
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def run_folder() -> Path:
    """Return the folder that all workers of this run share; it is removed at the end of the run."""
    return Path(os.environ[RUN_FOLDER])


def given_url(kind: Kind) -> str | None:
    """Return the URL of the server that the environment names, if any; such a server is not started."""
    return os.environ.get(GIVEN_URL[kind]) or None


def url_of(kind: Kind) -> str:
    """Return the URL of the run's server. The first caller starts it, in a host process that ends with the run.

    Raises: ServerFailed, at the first call and at once at each later one, when it does not start.
    """
    if url := given_url(kind):
        return url
    answer, failure = (run_folder() / f"{kind}.{what}" for what in ("url", "failure"))
    with lock(kind):
        if failure.exists():
            raise ServerFailed(failure.read_text())
        if not answer.exists():
            try:
                _start_host(kind)
            except ServerFailed as error:
                failure.write_text(str(error))
                raise
    return answer.read_text()


def image_of(kind: Kind) -> str:
    """Return the image's name as testcontainers asks the engine for it."""
    return os.environ.get("TESTCONTAINERS_HUB_IMAGE_NAME_PREFIX", "") + image_name(kind)


def image_name(kind: Kind) -> str:
    """Return the name to which testcontainers adds its prefix. An image of another registry has another digest."""
    has_prefix = bool(os.environ.get("TESTCONTAINERS_HUB_IMAGE_NAME_PREFIX"))
    return without_digest(IMAGES[kind]) if has_prefix else IMAGES[kind]


def description(kind: Kind) -> str:
    """Describe how this run gets the server."""
    if given_url(kind):
        return f"{kind} ({GIVEN_URL[kind]})"
    return f"{kind} (container {image_of(kind)})" if os.environ[HOW] == "containers" else f"{kind} (local process)"


def warning_of(kind: Kind) -> str | None:
    """Return what the tests cannot use on this run's server, if anything."""
    path = run_folder() / f"{kind}.warning"
    return path.read_text() if path.exists() else None


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a lock that the workers of this run share."""
    with (run_folder() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _start_host(kind: Kind) -> None:
    folder = run_folder()
    log = folder / f"{kind}.host.log"
    with log.open("wb") as output:
        host = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.harness.server_host",
                kind,
                os.environ[HOW],
                folder,
                os.environ[CONTROLLER_PID],
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # It outlives the worker that was first to ask, and stops by itself when the controller ends.
            start_new_session=True,
        )
    (folder / f"{kind}.pid").write_text(str(host.pid))
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not (folder / f"{kind}.url").exists():
        if host.poll() is not None or time.monotonic() > deadline:
            raise ServerFailed(f"{kind} did not start:\n{log.read_text()}")
        time.sleep(0.02)
    # This worker never waits for the host: without this, Popen warns when it is garbage-collected.
    host.returncode = 0


def process_exists(pid: int) -> bool:
    """Return whether a process has that id, even one that has exited and was not waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _still_runs(pid: int) -> bool:
    with suppress(ChildProcessError):
        # A host that is a child of this process stays a zombie until it is waited for.
        if os.waitpid(pid, os.WNOHANG) != (0, 0):
            return False
    return process_exists(pid)
