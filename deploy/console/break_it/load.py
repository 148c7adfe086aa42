"""A load on the local system: a process of `python -m deploy.load`, which reports its progress as a line per second."""

import asyncio
import json
import signal
import sys
from contextlib import suppress
from typing import Any, cast

from deploy.console.break_it.schemas import LoadStart, LoadView
from shared.errors import Conflict

STOP_TIMEOUT_SECONDS = 20
"""Time for the last orders to be decided after SIGTERM. Then the process is killed."""
MAX_LINE_BYTES = 1024 * 1024


class LoadRuns(Conflict):
    """A load runs already. Stop it first."""

    code = "load_runs"


class LoadRunner:
    """Runs at most one load at a time, and keeps its last line."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._started: LoadStart | None = None
        self._last: dict[str, Any] = {}
        self._error = ""

    @property
    def is_running(self) -> bool:
        """Return whether a load runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def view(self) -> LoadView:
        """The load that runs, or the last one."""
        return LoadView(
            is_running=self.is_running, started=self._started, last=self._last, error=self._error.strip() or None
        )

    async def start(self, load: LoadStart) -> LoadView:
        """Start a load. Raises: LoadRuns."""
        if self.is_running:
            raise LoadRuns
        command = [sys.executable, "-m", "deploy.load", "run", "--json-lines"]
        options = ["--rate", str(load.orders_per_second), "--seconds", str(load.seconds)]
        self._started, self._last, self._error = load, {}, ""
        self._process = await asyncio.create_subprocess_exec(
            *command,
            *options,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=MAX_LINE_BYTES,
        )
        self._watching = asyncio.create_task(self._watch(self._process))
        return self.view

    async def stop(self) -> LoadView:
        """End the load, and wait until it has ended."""
        process, watching = self._process, self._watching
        if process is not None and watching is not None and self.is_running:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            _, pending = await asyncio.wait({watching}, timeout=STOP_TIMEOUT_SECONDS)
            if pending:
                process.kill()
                await watching
        return self.view

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Keep the last line of a load, and its error output if it fails."""
        lines, errors_said = (cast("asyncio.StreamReader", pipe) for pipe in (process.stdout, process.stderr))
        errors = asyncio.create_task(errors_said.read())
        async for line in lines:
            with suppress(ValueError):
                self._last = json.loads(line)
        status = await process.wait()
        said = (await errors).decode(errors="replace")
        # 1 means that a threshold was missed, which the last line reports.
        if status not in {0, 1}:
            self._error = said[-2000:] or f"The load ended with status {status}."
