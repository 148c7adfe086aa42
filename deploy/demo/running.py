"""The system that the demo runs on: the one that runs already, or one of the demo's own."""

import asyncio
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.credentials import SERVICES
from deploy.local.process import LocalError, Process, Program, start_process
from deploy.local.screen import Screen
from deploy.local.settings import CHECKOUT, LocalSettings
from deploy.local.state import read_state, running_pid
from deploy.local.table import memory_of, memory_of_self

START_TIMEOUT_SECONDS = 300
"""The first start ever fetches a broker."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes; pages that several processes share count once."""

    whole: int
    services: int


@dataclass(frozen=True, kw_only=True)
class RunningSystem:
    """Where it answers. What changes while it runs is read from its state file each time."""

    folder: Path
    gateway_url: str
    mail_url: str
    databases: dict[str, str]
    admin_password: str

    def kill(self, service: str) -> int:
        """End a service at once, as a crash would. Returns the pid that is no more."""
        pid: int = self._state()["processes"][service]["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid

    def restarts(self) -> Counter[str]:
        """How often each process was started again since the system came up."""
        return Counter({name: process["restarts"] for name, process in self._state()["processes"].items()})

    def memory(self) -> Memory:
        """What all of it takes at the moment, the supervisor included."""
        state = self._state()
        by_name = {name: memory_of(process["pid"]) for name, process in state["processes"].items()}
        return Memory(
            whole=sum(by_name.values()) + memory_of_self(state["pid"]),
            services=sum(by_name[service] for service in SERVICES),
        )

    def _state(self) -> dict[str, Any]:
        state = read_state(self.folder)
        if state is None:
            raise LocalError("The system has stopped.")
        return state


@asynccontextmanager
async def running_system(settings: LocalSettings, *, screen: Screen) -> AsyncIterator[RunningSystem]:
    """Use the running system, or bring one up and stop it at the end. Raises: LocalError."""
    own = None if running_pid(settings.folder) else await _start(settings, screen=screen)
    try:
        yield await _wait_until_ready(settings.folder, own)
    finally:
        if own is not None:
            with screen.step("The system stops", "The system has stopped"):
                await own.stop()


async def _start(settings: LocalSettings, *, screen: Screen) -> Process:
    async def has_begun() -> bool:
        return running_pid(settings.folder) is not None

    screen.note("No system runs: one is brought up for the demo.")
    program = Program(
        name="system",
        command=[sys.executable, "-m", "deploy.local", "run"],
        environment={"PYTHONPATH": str(CHECKOUT)},
        ready=has_begun,
        address="",
        # Its steps and notes; what the services log stays in their files.
        echo=re.compile("^  [✓!✗] "),
        stop_timeout_seconds=120,
        # However the demo ends, the system is stopped in order.
        orphan_signal=signal.SIGTERM,
    )
    process = await start_process(
        program,
        log=settings.logs / "system.log",
        echo=lambda _name, line: screen.console.print(line, markup=False, soft_wrap=True),
    )
    await process.wait_until_ready()
    return process


async def _wait_until_ready(folder: Path, own: Process | None) -> RunningSystem:
    deadline = asyncio.get_running_loop().time() + START_TIMEOUT_SECONDS
    while True:
        state = read_state(folder)
        if state is not None and state["ready"]:
            return _described(folder, state)
        if own is not None and own.exit_status is not None:
            raise LocalError("The system could not be started.")
        if asyncio.get_running_loop().time() > deadline:
            raise LocalError(f"The system was not ready after {START_TIMEOUT_SECONDS} s.")
        await asyncio.sleep(0.1)


def _described(folder: Path, state: dict[str, Any]) -> RunningSystem:
    return RunningSystem(
        folder=folder,
        gateway_url=state["urls"]["gateway"],
        mail_url=state["urls"]["mail"],
        databases=state["databases"],
        admin_password=Path(state["admin_password_file"]).read_text().splitlines()[0],
    )
